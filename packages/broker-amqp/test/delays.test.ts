// Delays on a real RabbitMQ: in time, and in a fixed number of queues. That none is lost with the server is in `recovery.test.ts`.

import type { Consumer } from '@machinery/core';
import { controlledRabbit } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import { arrivals, drain, message, newQueue, newVhost, open, raw, uuidOf } from './setup.ts';

const rabbit = await controlledRabbit();
const vhost = await newVhost(rabbit);
const url = `${rabbit?.url}/${vhost}`;
afterAll(() => rabbit?.stop());

describe.skipIf(rabbit === undefined)('delays on RabbitMQ', { timeout: 60_000 }, () => {
  it('delivers a steady load soon and never early', async () => {
    const queue = newQueue();
    const [producer, worker] = [open({ url }), open({ url })];
    const consumer = await worker.consume({ queue, tag: 'worker', slots: 100, maxInHand: 200 });
    await producer.publish([message(newQueue(), 'first', Date.now() + 10)]); // declares the ladder
    const due = new Map(Array.from({ length: 600 }, (_, i) => [`${i}`, 0]));
    const arriving = arrivals(consumer, due);
    for (const uuid of due.keys()) {
      const dueAtMs = Date.now() + 100 + Math.floor(Math.random() * 2_900);
      due.set(uuid, dueAtMs);
      expect(await producer.publish([message(queue, uuid, dueAtMs)])).toEqual([{ status: 'stored' }]);
    }
    const { count, more, first, p99 } = await arriving;
    expect({ count, more }).toEqual({ count: 600, more: 0 });
    expect(first).toBeGreaterThanOrEqual(0);
    expect(p99).toBeLessThan(2_000); // 50 ms on an idle machine, as the benchmark says
  });

  it('delivers a thousand that are due in one instant soon and never early', async () => {
    const queue = newQueue();
    const broker = open({ url });
    const consumer = await broker.consume({ queue, tag: 'worker', slots: 1_000, maxInHand: 1_000 });
    const dueAtMs = Date.now() + 2_500;
    const due = new Map(Array.from({ length: 1_000 }, (_, i) => [`${i}`, dueAtMs]));
    await broker.publish([...due.keys()].map((uuid) => message(queue, uuid, dueAtMs)));
    const { count, more, first, p99 } = await arrivals(consumer, due);
    expect({ count, more }).toEqual({ count: 1_000, more: 0 });
    expect(first).toBeGreaterThanOrEqual(0);
    expect(p99).toBeLessThan(2_000); // 600 ms on a machine that does nothing else
  });

  it('needs no more queues for 5,000 ETAs', async () => {
    const queue = newQueue();
    const broker = open({ url });
    const now = Date.now();
    const all = Array.from({ length: 5_000 }, (_, i) => message(queue, `${i}`, now + 2_000 + i * 719));
    for (let from = 0; from < all.length; from += 1_000) {
      const outcomes = await broker.publish(all.slice(from, from + 1_000));
      expect(outcomes.filter(({ status }) => status !== 'stored')).toEqual([]);
    }
    const names = (await rabbit?.ctl('list_queues', '--vhost', vhost, 'name'))?.split('\n') ?? [];
    expect(names.filter((name) => /\.delay\.16ms-base4\.\d/.test(name))).toHaveLength(42);
    expect(names.length).toBeLessThan(100);
  });

  it('delivers to the default queue, and to it alone what is put back with a delay', async () => {
    const [queue, other] = [newQueue(), newQueue()];
    const broker = open({ url, exchange: 'fanned', exchangeType: 'fanout' });
    broker.attach({ defaultQueue: queue, logger: console });
    const [own, others] = await Promise.all(
      [queue, other].map((name) => broker.consume({ queue: name, tag: 'worker', slots: 5, maxInHand: 10 })),
    );
    await broker.publish([message(queue, '1', Date.now() + 100)]);
    expect((await drain(others as Consumer, 1)).map(uuidOf)).toEqual(['1']);
    const taken = (await own?.exchange([], 1, AbortSignal.timeout(5_000))) ?? [];
    await own?.settle(taken.map((delivery) => ({ kind: 'requeue', position: 'back', delayMs: 50, delivery })));
    expect((await drain(own as Consumer, 1)).map(uuidOf)).toEqual(['1']);
    expect(await others?.exchange([], 1, AbortSignal.timeout(100))).toEqual([]);
  });

  it('keeps aside what has lost its queue, and goes on', async () => {
    const [gone, queue] = [newQueue(), newQueue()];
    const broker = open({ url, exchange: 'aside' });
    await broker.publish([message(queue, 'first', Date.now() + 1)]); // declares the ladder
    await broker.publish([message(gone, 'lost', Date.now() + 3_000), message(queue, 'kept', Date.now() + 3_001)]);
    const channel = await (await raw(url)).createChannel();
    await channel.deleteQueue(gone);
    const consumer = await broker.consume({ queue, tag: 'worker', slots: 1, maxInHand: 1 });
    expect((await drain(consumer, 2)).map(uuidOf)).toEqual(['first', 'kept']);
    const unrouted = () => channel.get('aside.delay.unrouted');
    await expect.poll(unrouted, { timeout: 10_000 }).toMatchObject({ fields: { routingKey: gone } });
  });

  it('delays again what comes too early, because a clock was set', async () => {
    const queue = newQueue();
    const broker = open({ url });
    const consumer = await broker.consume({ queue, tag: 'worker', slots: 1, maxInHand: 1 });
    const channel = await (await raw(url)).createChannel();
    const dueAtMs = Date.now() + 1_500;
    const headers = { 'machinery-due-at': String(dueAtMs) };
    channel.publish('', queue, Buffer.from(message(queue, 'early').body), { headers });
    expect((await drain(consumer, 1)).map(uuidOf)).toEqual(['early']);
    expect(Date.now()).toBeGreaterThanOrEqual(dueAtMs);
  });

  it.each([
    ['classic queues', { delayQueueType: 'classic' }],
    ["Go's queues", { delays: 'queues' }],
    ["Go's delayed queue", { delays: 'delayed-queue', delayedQueue: 'delayed_one' }],
  ] as const)('delays through %s where it is told to', async (_, options) => {
    const queue = newQueue();
    const broker = open({ url, ...options });
    const consumer = await broker.consume({ queue, tag: 'worker', slots: 1, maxInHand: 1 });
    const dueAtMs = Date.now() + 200;
    expect(await broker.publish([message(queue, '1', dueAtMs)])).toEqual([{ status: 'stored' }]);
    expect((await drain(consumer, 1)).map(uuidOf)).toEqual(['1']);
    expect(Date.now()).toBeGreaterThanOrEqual(dueAtMs);
  });

  it("loses none of a batch with many short delays in queues like Go's", async () => {
    const queue = newQueue();
    const broker = open({ url, delays: 'queues' });
    const consumer = await broker.consume({ queue, tag: 'worker', slots: 200, maxInHand: 200 });
    const now = Date.now();
    const due = new Map(Array.from({ length: 200 }, (_, i) => [`${i}`, now + 300 + i * 5]));
    const outcomes = await broker.publish([...due].map(([uuid, dueAtMs]) => message(queue, uuid, dueAtMs)));
    expect(outcomes.filter(({ status }) => status !== 'stored')).toEqual([]);
    const { count, more, first } = await arrivals(consumer, due, 10_000);
    expect({ count, more }).toEqual({ count: 200, more: 0 });
    expect(first).toBeGreaterThanOrEqual(0);
  });

  it('says that a DelayedQueue is for one routing key', async () => {
    const broker = open({ url, delays: 'delayed-queue', delayedQueue: 'delayed_other' });
    await broker.publish([message(newQueue(), '1', Date.now() + 200)]);
    const [outcome] = await broker.publish([message(newQueue(), '2', Date.now() + 200)]);
    expect(outcome).toMatchObject({ status: 'failed', retryable: false });
    expect(String(outcome && 'error' in outcome && outcome.error)).toContain(
      'queue delayed_other is there with another argument `x-dead-letter-routing-key`',
    );
  });

  it('says when the server has no plugin for delays', async () => {
    const broker = open({ url, delays: 'plugin' });
    const [outcome] = await broker.publish([message(newQueue(), '1', Date.now() + 200)]);
    expect(outcome).toMatchObject({ status: 'failed', retryable: false });
    expect(String(outcome && 'error' in outcome && outcome.error)).toContain('rabbitmq_delayed_message_exchange');
  });
});
