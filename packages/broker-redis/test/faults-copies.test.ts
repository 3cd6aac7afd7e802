// Messages that are the same, byte for byte.

import { randomUUID } from 'node:crypto';
import { within } from '@machinery/conformance';
import { type Consumer, type Delivery, encodeSignature, stored } from '@machinery/core';
import { type StartedRedis, startRedis } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import type { RedisBroker } from '../src/index.ts';
import { hold, patienceMs, Scene, work } from './faults/setup.ts';

const redis = (await startRedis()) as StartedRedis;
afterAll(() => redis?.stop());

const copies = 50;

/** The same task, so many times. */
async function publish(scene: Scene, broker: RedisBroker, task: typeof hold | typeof work): Promise<void> {
  const signature = { ...task(1), uuid: `task_${randomUUID()}`, routingKey: scene.queue };
  const message = { body: encodeSignature(signature), routingKey: scene.queue, signature };
  const outcomes = await broker.publish(Array.from({ length: copies }, () => message));
  expect(outcomes).toEqual(Array.from({ length: copies }, () => stored));
}

/** Takes and acks until there were so many. */
async function takeAll(consumer: Consumer, count: number): Promise<Delivery[]> {
  const taken: Delivery[] = [];
  while (taken.length < count) {
    const taking = consumer.exchange([], count, new AbortController().signal);
    const deliveries = await within(patienceMs, `${count} messages, of which ${taken.length} have come`, taking);
    await consumer.settle(deliveries.map((delivery) => ({ kind: 'ack', delivery })));
    taken.push(...deliveries);
  }
  return taken;
}

describe.skipIf(redis === undefined)('copies of a message', () => {
  it('run as often as there are', async () => {
    const scene = new Scene(redis.url);
    const worker = await scene.start({ name: 'worker' });
    await publish(scene, scene.server.broker as RedisBroker, work);
    await scene.reported('all of them to run', () => worker.begun('work').length >= copies);
    expect(await worker.program.stop()).toBe(0);
    expect(worker.begun('work').length).toBe(copies);
    expect(await scene.server.pendingTasks(scene.queue)).toEqual([]);
  }, 30_000);

  it('are all there when a worker has died with some of them in hand', async () => {
    const scene = new Scene(redis.url);
    const broker = scene.newServer({ url: redis.url, leaseMs: 1_500, beatMs: 300 }).broker as RedisBroker;
    const worker = await scene.start({ name: 'worker', concurrency: 10 });
    await publish(scene, broker, hold);
    await scene.reported('ten of them to begin', () => worker.begun('hold').length === 10);
    await worker.program.kill();
    const consumer = await broker.consume({ queue: scene.queue, tag: 'next', slots: copies, maxInHand: copies });
    const taken = await takeAll(consumer, copies);
    expect(taken.length).toBe(copies);
    expect(taken.filter(({ redelivered }) => redelivered).length).toBeGreaterThanOrEqual(10);
    // Nothing more comes, not even after another lease
    const more = consumer.exchange([], 1, AbortSignal.timeout(2_000));
    expect(await more).toEqual([]);
    expect(await broker.pendingMessages(scene.queue, 1)).toEqual([]);
    await consumer.close();
  }, 30_000);
});
