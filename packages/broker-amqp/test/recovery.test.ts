// The server closes connections, stops and dies in the middle of work, alone and in a cluster: everything comes back by itself,
// and nothing is lost. The node is that of this file.

import { setTimeout as sleep } from 'node:timers/promises';
import { type Consumer, type Delivery, type Logger, MachineryError, type Outcome } from '@machinery/core';
import { type StartedRabbit, startRabbit, tcpProxy } from '@machinery/services';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import type { AmqpBroker } from '../src/index.ts';
import { arrivals, drain, message, newQueue, open, raw, uuidOf } from './setup.ts';

// After a crash, a delay that was not confirmed is tried again after three minutes, if nothing else is said.
const rabbit = await startRabbit({ advanced: ['{dead_letter_worker_publisher_confirm_timeout, 2000}'] });
const url = rabbit?.url as string;
afterAll(() => rabbit?.stop());

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** As core does it: again after a while, with what was not settled. */
async function work(consumer: Consumer, done: Map<string, number>, signal: AbortSignal): Promise<void> {
  let unsettled: Delivery[] = [];
  while (!signal.aborted) {
    try {
      const taken = await consumer.exchange(
        unsettled.map((delivery) => ({ kind: 'ack', delivery })),
        50,
        signal,
      );
      for (const delivery of taken) done.set(uuidOf(delivery), (done.get(uuidOf(delivery)) ?? 0) + 1);
      unsettled = taken;
    } catch (error) {
      if (!MachineryError.is(error, 'ERR_MACHINERY_BROKER_UNAVAILABLE')) throw error;
      await sleep(50);
    }
  }
  await consumer.settle(unsettled.map((delivery) => ({ kind: 'ack', delivery })));
}

/** Publishes for as long as `failing` takes; what is unknown is sent again. Answers how many messages there are, and how many were unknown. */
async function publishDuring(broker: AmqpBroker, queue: string, failing: Promise<unknown>) {
  let [count, unknown, isOver] = [0, 0, false];
  void failing.finally(() => {
    isOver = true;
  });
  while (!isOver || count < 2_000) {
    let left = Array.from({ length: 50 }, () => message(queue, `${count++}`));
    while (left.length > 0) {
      const outcomes = await broker.publish(left);
      unknown += outcomes.filter(({ status }) => status === 'unknown').length;
      for (const outcome of outcomes)
        if (outcome.status === 'failed') expect(outcome.retryable, outcome.error.message).toBe(true);
      left = left.filter((_, i) => (outcomes[i] as Outcome).status !== 'stored');
      if (left.length > 0) await sleep(50);
    }
    await sleep(10);
  }
  return { count, unknown };
}

describe.skipIf(rabbit === undefined)('a RabbitMQ that fails', { timeout: 120_000 }, () => {
  const failures = {
    'closes all connections, twice': async () => {
      await rabbit?.ctl('close_all_connections', 'test');
      await rabbit?.ctl('close_all_connections', 'test');
    },
    'is stopped and started': async () => {
      await rabbit?.ctl('stop_app');
      await rabbit?.ctl('start_app');
    },
    'is killed and started': async () => {
      await rabbit?.kill();
      await rabbit?.start();
    },
  };

  for (const [what, fail] of Object.entries(failures)) {
    it(`loses none of thousands of messages when it ${what}`, async () => {
      const queue = newQueue();
      const [producer, worker] = [open({ url }), open({ url })];
      const consumer = await worker.consume({ queue, tag: 'worker', slots: 50, maxInHand: 100 });
      const done = new Map<string, number>();
      const end = new AbortController();
      onTestFinished(() => end.abort());
      const working = work(consumer, done, end.signal);
      const failing = sleep(100).then(fail);
      const { count, unknown } = await publishDuring(producer, queue, failing);
      await failing;
      await expect.poll(() => done.size, { timeout: 30_000 }).toBe(count);
      end.abort();
      await working;
      const more = [...done.values()].reduce((sum, times) => sum + times - 1, 0);
      expect(more).toBeLessThanOrEqual(unknown + 2 * 200); // what may have been stored, and what was in hand
    });
  }

  it('keeps all that is delayed when it is killed, and none twice', async () => {
    const queue = newQueue();
    const [producer, worker] = [open({ url }), open({ url })];
    const consumer = await worker.consume({ queue, tag: 'worker', slots: 100, maxInHand: 200 });
    const now = Date.now();
    const due = new Map(Array.from({ length: 1_000 }, (_, i) => [`${i}`, now + 2_000 + i * 10]));
    const outcomes = await producer.publish([...due].map(([uuid, dueAtMs]) => message(queue, uuid, dueAtMs)));
    expect(outcomes.filter(({ status }) => status !== 'stored')).toEqual([]);
    const arriving = arrivals(consumer, due, 50_000);
    await sleep(now + 3_000 - Date.now());
    await rabbit?.kill();
    await rabbit?.start();
    const { count, more, first } = await arriving;
    expect(count).toBe(1_000);
    expect(more).toBeLessThanOrEqual(200); // what was in hand
    expect(first).toBeGreaterThanOrEqual(0);
  });

  it('says why a consumer was ended by consumer_timeout, and goes on', async () => {
    const set = (timeoutMs: number, tickMs: number) =>
      rabbit?.ctl(
        'eval',
        `application:set_env(rabbit, consumer_timeout, ${timeoutMs}), application:set_env(rabbit, channel_tick_interval, ${tickMs}).`,
      );
    await set(500, 500);
    onTestFinished(async () => void (await set(1_800_000, 60_000)), 60_000);
    const queue = newQueue();
    const broker = open({ url });
    const consumer = await broker.consume({ queue, tag: 'slow', slots: 1, maxInHand: 1 });
    await broker.publish([message(queue, 'slow')]);
    const [delivery] = await consumer.exchange([], 1, AbortSignal.timeout(5_000));
    expect(await consumer.owns?.(delivery as Delivery)).toBe(true);
    const waiting = consumer.exchange([], 1, AbortSignal.timeout(30_000));
    await expect(waiting).rejects.toThrow(/queue-.*consumer_timeout.*x-consumer-timeout/s);
    expect(await consumer.owns?.(delivery as Delivery)).toBe(false);
    const [again] = await drain(consumer, 1);
    expect(again?.redelivered).toBe(true);
  });

  it('leaves what it was sent to others when nobody asks for it, and goes on when somebody does', async () => {
    const queue = newQueue();
    const broker = open({ url });
    const options = { queue, tag: 'worker', slots: 5, maxInHand: 10 };
    const [paused, other] = [await broker.consume(options), await broker.consume(options)];
    await broker.publish(['1', '2', '3', '4', '5', '6', '7', '8', '9', '10'].map((uuid) => message(queue, uuid)));
    expect(await drain(other, 10)).toHaveLength(10);
    await other.close();
    await broker.publish([message(queue, '11')]);
    expect((await drain(paused, 1)).map(uuidOf)).toEqual(['11']);
  });

  it('goes on once when it is asked, paused and asked again at once', async () => {
    const queue = newQueue();
    const broker = open({ url });
    const consumer = await broker.consume({ queue, tag: 'worker', slots: 5, maxInHand: 10 });
    await broker.publish(['1', '2', '3', '4'].map((uuid) => message(queue, uuid)));
    const [busy] = await consumer.exchange([], 1, AbortSignal.timeout(5_000));
    await expect.poll(() => broker.countPending(queue), { timeout: 5_000 }).toBe(3); // given back
    const pause = new AbortController();
    const asking = consumer.exchange([], 1, pause.signal);
    for (let i = 0; i < 20; i++) await undefined; // the server is being told
    pause.abort();
    expect(await asking).toEqual([]);
    expect(await drain(consumer, 3)).toHaveLength(3);
    expect(await consumer.owns?.(busy as Delivery)).toBe(true); // its channel was not lost
  });

  it('keeps a queue that is deleted with its last consumer, and what is in it, while that is paused', async () => {
    const queue = newQueue();
    const broker = open({ url, autoDelete: true });
    const consumer = await broker.consume({ queue, tag: 'worker', slots: 1, maxInHand: 2 });
    await broker.publish(Array.from({ length: 10 }, (_, i) => message(queue, `${i}`)));
    expect(await drain(consumer, 1)).toHaveLength(1);
    await sleep(1_000);
    expect((await drain(consumer, 9)).map(uuidOf)).toEqual(['1', '2', '3', '4', '5', '6', '7', '8', '9']);
  });

  it('declares a queue again that was deleted, for its consumer and for who publishes', async () => {
    const queue = newQueue();
    const [broker, producer] = [open({ url }), open({ url })];
    const consumer = await broker.consume({ queue, tag: 'worker', slots: 1, maxInHand: 1 });
    await producer.publish([message(queue, '1')]);
    expect(await drain(consumer, 1)).toHaveLength(1);
    const channel = await (await raw(url)).createChannel();
    const waiting = consumer.exchange([], 1, AbortSignal.timeout(10_000));
    waiting.catch(() => {});
    await channel.deleteQueue(queue);
    expect(await producer.publish([message(queue, '2')])).toEqual([{ status: 'stored' }]);
    await expect(waiting).rejects.toThrow('its queue was deleted');
    expect((await drain(consumer, 1)).map(uuidOf)).toEqual(['2']);
  });

  it('goes on while dead messages can be put nowhere, and puts them there when they can', async () => {
    const queue = newQueue();
    const broker = open({ url });
    const said: string[] = [];
    broker.attach({ defaultQueue: newQueue(), logger: { ...silent, error: (text) => void said.push(String(text)) } });
    const consumer = await broker.consume({ queue, tag: 'worker', slots: 2, maxInHand: 2 });
    const take = async () => (await consumer.exchange([], 1, AbortSignal.timeout(5_000)))[0] as Delivery;
    const channel = await (await raw(url)).createChannel();
    await channel.assertQueue(`${queue}.dead`, { arguments: { 'x-max-length': 0, 'x-overflow': 'reject-publish' } });
    await broker.publish(['dead', '1', '2', '3'].map((uuid) => message(queue, uuid)));
    await consumer.settle([{ kind: 'dead', reason: 'broken', delivery: await take() }]);
    expect((await drain(consumer, 3)).map(uuidOf)).toEqual(['1', '2', '3']);
    expect(said).toEqual([expect.stringContaining(queue)]);
    await channel.deleteQueue(`${queue}.dead`);
    const dead = async () => (await broker.pendingMessages(`${queue}.dead`, 2)).length;
    await expect.poll(dead, { timeout: 10_000 }).toBe(1);
    // Somebody deletes it once more, which no answer of the server has told
    await channel.deleteQueue(`${queue}.dead`);
    await broker.publish([message(queue, 'dead, too')]);
    await consumer.settle([{ kind: 'dead', reason: 'broken', delivery: await take() }]);
    await expect.poll(dead, { timeout: 10_000 }).toBe(1);
    expect(await broker.countPending(queue)).toBe(0);
  });

  it('calls unknown what was sent and not confirmed when the connection breaks', async () => {
    const queue = newQueue();
    const proxy = await tcpProxy({ to: rabbit?.port as number });
    onTestFinished(() => proxy.close());
    const broker = open({ url: `amqp://127.0.0.1:${proxy.port}` });
    expect(await broker.publish([message(queue, 'first')])).toEqual([{ status: 'stored' }]);
    proxy.stall('replies');
    const publishing = broker.publish(['a', 'b', 'c'].map((uuid) => message(queue, uuid)));
    await sleep(100);
    proxy.cut();
    proxy.resume();
    expect((await publishing).map(({ status }) => status)).toEqual(['unknown', 'unknown', 'unknown']);
    expect(await broker.publish([message(queue, 'last')])).toEqual([{ status: 'stored' }]);
  });

  it('fails what it cannot confirm in time as unknown', async () => {
    const queue = newQueue();
    const proxy = await tcpProxy({ to: rabbit?.port as number });
    onTestFinished(() => proxy.close());
    const broker = open({ url: `amqp://127.0.0.1:${proxy.port}`, confirmTimeoutMs: 200 });
    await broker.publish([message(queue, 'first')]);
    proxy.stall('everything');
    expect((await broker.publish([message(queue, 'a')])).map(({ status }) => status)).toEqual(['unknown']);
    proxy.resume();
    expect((await broker.publish([message(queue, 'b')])).map(({ status }) => status)).toEqual(['stored']);
  });

  it('fails for now while the server takes no messages', async () => {
    const queue = newQueue();
    const broker = open({ url, confirmTimeoutMs: 500 });
    await broker.publish([message(queue, 'before')]);
    await rabbit?.ctl('set_vm_memory_high_watermark', 'absolute', '1MB');
    try {
      const blocked = async () => (await broker.publish([message(queue, 'blocked')]))[0];
      await broker.publish([message(queue, 'blocks')]).catch(() => {}); // the server tells who publishes
      await expect.poll(blocked).toMatchObject({
        status: 'failed',
        retryable: true,
        error: { message: expect.stringMatching(/takes no messages/) },
      });
    } finally {
      await rabbit?.ctl('set_vm_memory_high_watermark', '0.6');
    }
    await expect.poll(async () => (await broker.publish([message(queue, 'after')]))[0]?.status).toBe('stored');
  });

  it('is waited for: what is published and consumed while it is away may be tried again', async () => {
    const away = open({ url: 'amqp://127.0.0.1:1' });
    const [outcome] = await away.publish([message('queue', '1')]);
    expect(outcome).toMatchObject({ status: 'failed', retryable: true });
    const consuming = away.consume({ queue: 'queue', tag: 'worker', slots: 1, maxInHand: 1 });
    await expect(consuming).rejects.toMatchObject({ code: 'ERR_MACHINERY_BROKER_UNAVAILABLE' });
  });

  it('in a cluster goes on with the node that is left, and with the queues of the other one when that is back', async () => {
    const [here, there] = [newQueue(), newQueue()];
    const stays = rabbit as StartedRabbit;
    const stops = (await startRabbit({ cluster: stays })) as StartedRabbit;
    onTestFinished(() => stops.stop());
    const urls = [stops.url, stays.url];
    const options = { tag: 'worker', slots: 10, maxInHand: 20 };
    // A classic queue is where the connection is that declared it
    await open({ url: stays.url }).publish([message(here, '1')]);
    const [producer, worker] = [open({ url: urls }), open({ url: urls })];
    await producer.publish([message(there, '1')]);
    const [ofHere, ofThere] = [
      await worker.consume({ queue: here, ...options }),
      await worker.consume({ queue: there, ...options }),
    ];
    expect((await drain(ofHere, 1)).map(uuidOf)).toEqual(['1']);
    await stops.ctl('stop_app');

    const published = await eventually(async () => {
      const [outcome] = await producer.publish([message(here, '2')]);
      return outcome?.status === 'stored';
    });
    expect(published).toBe(true);
    expect((await eventually(() => drain(ofHere, 1))).map(uuidOf)).toEqual(['2']);
    const [outcome] = await producer.publish([message(there, '2')]);
    expect(outcome).toMatchObject({
      status: 'failed',
      retryable: true,
      error: { message: expect.stringContaining(there) },
    });

    await stops.ctl('start_app');
    expect((await eventually(() => drain(ofThere, 1))).map(uuidOf)).toEqual(['1']);
    const stored = await eventually(
      async () => (await producer.publish([message(there, '3')]))[0]?.status === 'stored',
    );
    expect(stored).toBe(true);
  });
});

/** As core does it: again after a while, when that may help. */
async function eventually<T>(call: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    try {
      const answer = await call();
      if (answer) return answer;
    } catch (error) {
      if (!MachineryError.is(error, 'ERR_MACHINERY_BROKER_UNAVAILABLE') || performance.now() > deadline) throw error;
    }
    if (performance.now() > deadline) throw new Error('It is never so');
    await sleep(200);
  }
}
