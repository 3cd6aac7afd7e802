// Thousands of tasks while workers are killed and the server is away: none is lost.

import { setTimeout as sleep } from 'node:timers/promises';
import { RedisBackend } from '@machinery/backend-redis';
import { Server, silentLogger } from '@machinery/core';
import { NodeProgram, redisServer, startPubSub } from '@machinery/services';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { Admin, at, closeAll, consume, message, newQueue, open, take, uuidOf } from './setup.ts';

const [pubsub, redis] = [await startPubSub(), await redisServer()];
const host = pubsub?.host as string;
const admin = pubsub && new Admin(host);
afterAll(async () => {
  await closeAll();
  await admin?.close();
  await Promise.all([pubsub?.stop(), redis?.stop()]);
});

const count = 3_000;

/** How many messages nobody holds. Takes what it counts for a moment. */
async function waiting(queue: string): Promise<number> {
  const subscription = admin?.subscription(queue) as string;
  const [{ receivedMessages }] = (await admin?.subscriber.pull({
    subscription,
    maxMessages: 10,
    returnImmediately: true,
  })) ?? [{}];
  const ackIds = (receivedMessages ?? []).map(({ ackId }) => ackId as string);
  if (ackIds.length > 0) await admin?.subscriber.modifyAckDeadline({ subscription, ackIds, ackDeadlineSeconds: 0 });
  return ackIds.length;
}

describe.skipIf(pubsub === undefined || redis === undefined)('faults', () => {
  it(`loses none of ${count} tasks while workers are killed and the server is away`, { timeout: 120_000 }, async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const config = { broker: at(host), redis: redis?.url, queue };
    let begun = 0;
    let wake = () => {};
    const onReport = (report: { begun?: number }) => {
      if (report.begun !== undefined) begun++;
      wake();
    };
    const program = new URL('faults/worker.mjs', import.meta.url);
    const start = () => new NodeProgram({ program, config, onReport });
    const untilBegun = async (least: number) => {
      while (begun < least) await new Promise<void>((resolve) => (wake = resolve));
    };
    const workers = [start(), start()];
    onTestFinished(async () => {
      await Promise.all(workers.map((worker) => worker.kill()));
    });
    const backend = new RedisBackend({ url: redis?.url as string });
    await using server = new Server({ broker: open(host), backend, defaultQueue: queue, logger: silentLogger });
    const send = (n: number) => server.send({ name: 'work', args: [{ type: 'int64', value: n }] });
    const results = await Promise.all(Array.from({ length: count }, (_, n) => send(n)));
    await untilBegun(count / 6);
    await workers[0]?.kill();
    workers.push(start());
    await untilBegun(count / 3);
    await pubsub?.down();
    await sleep(500);
    await pubsub?.up();
    await untilBegun(count / 2);
    await workers[1]?.kill();
    const values = await Promise.all(results.map((result) => result.get({ timeoutMs: 90_000 })));
    expect(values.map(Number)).toEqual(Array.from({ length: count }, (_, n) => n));
    expect(begun).toBeGreaterThanOrEqual(count);
    expect(begun).toBeLessThan(count + 200); // what was in hand of those that were killed, and what is delivered twice
  });

  it('delays a message on when the worker is killed that held it', { timeout: 60_000 }, async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const config = { broker: at(host), redis: redis?.url, queue };
    const program = new URL('faults/worker.mjs', import.meta.url);
    const start = async () => {
      let ready = () => {};
      const isReady = new Promise<void>((resolve) => {
        ready = resolve;
      });
      const worker = new NodeProgram({ program, config, onReport: () => ready() });
      onTestFinished(() => worker.kill());
      await isReady;
      return worker;
    };
    const first = await start();
    const backend = new RedisBackend({ url: redis?.url as string });
    await using server = new Server({ broker: open(host), backend, defaultQueue: queue, logger: silentLogger });
    const etaMs = Date.now() + 3_000;
    const signature = { name: 'work', args: [{ type: 'int64', value: 1 }], eta: new Date(etaMs) } as const;
    const result = await server.send(signature);
    while ((await waiting(queue)) > 0) await sleep(50);
    await first.kill();
    await start();
    await result.get({ timeoutMs: 20_000 });
    expect(Date.now()).toBeGreaterThanOrEqual(etaMs);
    expect(Date.now()).toBeLessThan(etaMs + 4_000); // two of its leases, and what a busy machine takes
  });

  it('says what could not be published while the server is away, and goes on when it is back', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const broker = open(host);
    const consumer = await consume(broker, queue);
    await broker.publish([message(queue, 'before')]);
    const [delivery] = await take(consumer, 1);
    const waiting = consumer.exchange([], 1, AbortSignal.timeout(5_000));
    waiting.catch(() => {});
    await pubsub?.down();
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_MACHINERY_BROKER_UNAVAILABLE' });
    const outcomes = [await broker.publish([message(queue, 'lost')]), await broker.publish([message(queue, 'lost')])];
    expect(outcomes.at(-1)).toMatchObject([{ status: 'failed', retryable: true }]);
    await pubsub?.up();
    for (;;) {
      const [outcome] = await broker.publish([message(queue, 'after')]);
      if (outcome?.status === 'stored') break;
      await sleep(50);
    }
    await consumer.settle([{ kind: 'ack', delivery: delivery as NonNullable<typeof delivery> }]); // its lease runs on
    expect((await take(consumer, 1)).map(uuidOf)).toEqual(['after']);
  });
});
