// Delayed messages: who holds them, and what the limits are.

import { setTimeout as sleep } from 'node:timers/promises';
import { pubsubServer } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import { Admin, closeAll, consume, message, newQueue, open, ownServer, take, takeWithin, uuidOf } from './setup.ts';

const pubsub = await pubsubServer();
const host = pubsub?.host as string;
const admin = pubsub && new Admin(host);
afterAll(async () => {
  await closeAll();
  await admin?.close();
  await pubsub?.stop();
});

/** A message that is due in so many milliseconds. */
const due = (queue: string, uuid: string, inMs: number) => message(queue, uuid, { dueAtMs: Date.now() + inMs });

describe.skipIf(admin === undefined).concurrent('delayed messages', { timeout: 20_000 }, () => {
  it('take no slot from those that are due', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const broker = open(host);
    await broker.publish(Array.from({ length: 30 }, (_, i) => due(queue, `late-${i}`, 60_000)));
    const consumer = await broker.consume({ queue, tag: 'test', slots: 1, maxInHand: 2 });
    for (let i = 0; i < 20; i++) {
      await broker.publish([message(queue, `now-${i}`)]);
      const [delivery] = await consumer.exchange([], 1, AbortSignal.timeout(5_000));
      expect(delivery && uuidOf(delivery)).toBe(`now-${i}`);
      await consumer.settle([{ kind: 'ack', delivery: delivery as NonNullable<typeof delivery> }]);
    }
  });

  it('come on time from the worker that holds them, and are first deliveries', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const broker = open(host);
    const consumer = await consume(broker, queue);
    const dueAtMs = Date.now() + 3_000; // longer than a lease
    await broker.publish([message(queue, 'late', { dueAtMs })]);
    const [delivery] = await take(consumer, 1);
    const lateMs = Date.now() - dueAtMs;
    expect(lateMs).toBeGreaterThanOrEqual(0);
    expect(lateMs).toBeLessThan(1_000);
    expect(delivery?.redelivered).toBe(false);
  });

  it.each([0, 2])('are left to the server beyond a `maxHeld` of %i, and are never early', async (maxHeld) => {
    const queue = newQueue();
    await admin?.create(queue);
    const broker = open(host, { maxHeld });
    const consumer = await consume(broker, queue);
    const dueAtMs = Date.now() + 2_500;
    await broker.publish(Array.from({ length: 20 }, (_, i) => message(queue, String(i), { dueAtMs })));
    const deliveries = [];
    while (deliveries.length < 20) {
      deliveries.push(...(await take(consumer, 1)));
      expect(Date.now()).toBeGreaterThanOrEqual(dueAtMs);
    }
    expect(new Set(deliveries.map(uuidOf)).size).toBe(20);
  });

  it('are published again when they were held for `maxExtensionMs`', async () => {
    const own = await ownServer(); // whose calls are counted
    if (own === undefined) return;
    const { server: counting, look } = own;
    const queue = newQueue();
    await look.create(queue);
    const broker = open(counting.host, { maxExtensionMs: 1_000 });
    const consumer = await consume(broker, queue);
    const dueAtMs = Date.now() + 3_500;
    await broker.publish([message(queue, 'late', { dueAtMs })]);
    const [delivery] = await take(consumer, 1);
    expect(Date.now()).toBeGreaterThanOrEqual(dueAtMs);
    await consumer.settle([{ kind: 'ack', delivery: delivery as NonNullable<typeof delivery> }]);
    const { Publish = 0 } = await counting.calls();
    expect(Publish).toBeGreaterThanOrEqual(3);
    expect(Publish).toBeLessThanOrEqual(4);
    expect(await takeWithin(consumer, 300)).toEqual([]);
  });

  it('are held by the next worker when one is closed', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const broker = open(host);
    const first = await consume(broker, queue);
    const dueAtMs = Date.now() + 1_500;
    await broker.publish([message(queue, 'late', { dueAtMs })]);
    expect(await takeWithin(first, 300)).toEqual([]);
    await first.close();
    const deliveries = await take(await consume(broker, queue), 1);
    expect(deliveries.map(uuidOf)).toEqual(['late']);
    expect(Date.now()).toBeGreaterThanOrEqual(dueAtMs);
  });

  it('are given to others when they are due and their worker asks for nothing', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const broker = open(host);
    const busy = await consume(broker, queue);
    await broker.publish([due(queue, 'late', 600)]);
    expect(await takeWithin(busy, 200)).toEqual([]); // it holds it now, and asks no more
    const deliveries = await take(await consume(broker, queue), 1, 5_000);
    expect(deliveries.map(uuidOf)).toEqual(['late']);
  });

  it('are known by their signature where it is Go that sent them early', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const consumer = await consume(open(host), queue);
    const eta = new Date(Date.now() + 1_200);
    await admin?.publish(queue, JSON.stringify({ UUID: 'late', Name: 'task', ETA: eta.toISOString() }));
    await take(consumer, 1);
    expect(Date.now()).toBeGreaterThanOrEqual(eta.getTime());
  });

  it('reach at once any other subscriber, such as a worker of Go', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    await open(host).publish([due(queue, 'late', 60_000)]);
    await sleep(50);
    expect(await admin?.take(queue)).toHaveLength(1);
  });
});
