// What is in hand is kept in batches, as it was taken: a part of one that is settled leaves the rest.

import { seededRandom } from '@machinery/conformance';
import type { Consumer, Delivery, Settlement } from '@machinery/core';
import { startRedis, tcpProxy } from '@machinery/services';
import type { Redis } from 'ioredis';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import type { RedisBrokerOptions } from '../src/index.ts';
import { drain, message, newQueue, open, raw, uuidOf } from './setup.ts';

const redis = await startRedis();
afterAll(() => redis?.stop());
const url = redis?.url as string;
const soon = () => AbortSignal.timeout(5_000);
const names = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `m${from + i}`);

interface Scene {
  readonly queue: string;
  readonly client: Redis;
  readonly consumer: Consumer;
  publish(...uuids: string[]): Promise<void>;
  /** Takes so many, however many batches they come in. */
  take(count: number): Promise<Delivery[]>;
  waiting(): Promise<string[]>;
  dead(): Promise<string[]>;
  /** The batches that are in hand. */
  fields(): Promise<string[]>;
}

async function newScene(at = url, options: Partial<RedisBrokerOptions> = {}, lookAt = at): Promise<Scene> {
  const queue = newQueue();
  const client = raw(lookAt) as Redis;
  const consumer = await open({ url: at, ...options }).consume({ queue, tag: 'worker', slots: 10, maxInHand: 20 });
  const publisher = open({ url: lookAt });
  const uuidIn = (body: string) => (JSON.parse(body) as { UUID: string }).UUID;
  return {
    queue,
    client,
    consumer,
    publish: async (...uuids) => void (await publisher.publish(uuids.map((uuid) => message(queue, uuid)))),
    async take(count) {
      const taken: Delivery[] = [];
      while (taken.length < count) taken.push(...(await consumer.exchange([], count - taken.length, soon())));
      return taken;
    },
    waiting: async () => (await client.lrange(queue, 0, -1)).map(uuidIn),
    dead: async () =>
      (await client.lrange(`{${queue}}:dead`, 0, -1)).map((text) =>
        uuidIn((JSON.parse(text) as { body: string }).body),
      ),
    fields: () => client.hkeys(`{${queue}}:inflight`),
  };
}

const ack = (delivery: Delivery): Settlement => ({ kind: 'ack', delivery });
const front = (delivery: Delivery, begun = false): Settlement => ({
  kind: 'requeue',
  position: 'front',
  delivery,
  ...(begun && { begun }),
});
const back = (delivery: Delivery, delayMs?: number): Settlement => ({
  kind: 'requeue',
  position: 'back',
  delivery,
  ...(delayMs !== undefined && { delayMs }),
});
const dead = (delivery: Delivery): Settlement => ({ kind: 'dead', delivery, reason: 'for a test' });

describe.skipIf(redis === undefined)('a batch', () => {
  it('that was taken at once is one field, and all of it is acked with it', async () => {
    const scene = await newScene();
    await scene.publish(...names(1, 100));
    const taken = await scene.take(100);
    expect(await scene.fields()).toHaveLength(1);
    await scene.client.config('RESETSTAT');
    await scene.consumer.settle(taken.map(ack));
    const stats = await scene.client.info('commandstats');
    expect(stats).toContain('cmdstat_hdel:calls=1,');
    expect(stats).not.toContain('cmdstat_hset:');
    expect(await scene.fields()).toEqual([]);
  });

  it('is settled in parts, in any order and in every way', async () => {
    const scene = await newScene();
    const { consumer } = scene;
    await scene.publish(...names(1, 14));
    const taken = await scene.take(12);
    const at = (n: number) => taken[n - 1] as Delivery;
    await consumer.settle([ack(at(7)), dead(at(3)), back(at(11))]);
    await consumer.settle([front(at(9)), front(at(2))]);
    expect(await scene.waiting()).toEqual(['m2', 'm9', 'm13', 'm14', 'm11']);
    await consumer.settle([back(at(1), 60_000), ack(at(12)), ack(at(12)), ack(at(7))]);
    expect(await scene.fields()).toHaveLength(1);
    await consumer.settle([front(at(6), true), dead(at(5)), ack(at(4))]);
    expect(await scene.waiting()).toEqual(['m2', 'm6', 'm9', 'm13', 'm14', 'm11']);
    await consumer.settle([ack(at(8)), front(at(10))]);
    expect(await scene.fields()).toEqual([]);
    expect(await scene.waiting()).toEqual(['m2', 'm6', 'm9', 'm10', 'm13', 'm14', 'm11']);
    expect(await scene.dead()).toEqual(['m3', 'm5']);
    expect(await scene.client.zcard(`{${scene.queue}}:requeued`)).toBe(1);
    const again = await drain(consumer, 7);
    expect(again.map((delivery) => [uuidOf(delivery), delivery.redelivered])).toEqual(
      ['m2', 'm6', 'm9', 'm10', 'm13', 'm14', 'm11'].map((uuid) => [uuid, uuid === 'm6']),
    );
    expect(await scene.fields()).toEqual([]);
  });

  it('that is settled twice, late or after it is over changes nothing', async () => {
    const scene = await newScene();
    await scene.publish(...names(1, 4));
    const taken = await scene.take(4);
    await scene.consumer.settle(taken.slice(0, 2).map((delivery) => front(delivery)));
    for (const settle of [ack, dead, back, front]) await scene.consumer.settle(taken.slice(0, 2).map((d) => settle(d)));
    expect(await scene.waiting()).toEqual(['m1', 'm2']);
    await scene.consumer.settle(taken.map(ack));
    expect(await scene.fields()).toEqual([]);
    await scene.consumer.settle(taken.map((delivery) => front(delivery)));
    expect(await scene.waiting()).toEqual(['m1', 'm2']);
    expect(await scene.dead()).toEqual([]);
  });

  it('holds 8 KB: more are several, which are settled together', async () => {
    const scene = await newScene();
    const bodies = names(1, 20).map((uuid) => JSON.stringify({ UUID: uuid, x: 'x'.repeat(1_250) }));
    await scene.client.rpush(scene.queue, ...bodies, JSON.stringify({ UUID: 'huge', x: 'x'.repeat(20_000) }));
    const taken = await scene.take(21);
    expect(taken.map(uuidOf)).toEqual([...names(1, 20), 'huge']);
    expect(await scene.fields()).toHaveLength(5); // of six, six, six, two, and the one that is larger
    await scene.consumer.settle(taken.filter((_, i) => i % 2 === 0).map(ack));
    await scene.consumer.settle(taken.filter((_, i) => i % 2 === 1).map((delivery) => front(delivery)));
    expect(await scene.fields()).toEqual([]);
    expect(await scene.waiting()).toEqual(names(1, 20).filter((_, i) => i % 2 === 1));
  });

  it('is settled in parts while the server is full', async () => {
    const full = await startRedis({ settings: ['--maxmemory-policy', 'noeviction'] });
    onTestFinished(() => full?.stop());
    const scene = await newScene(full?.url as string);
    await scene.publish(...names(1, 10));
    const taken = await scene.take(10);
    await scene.client.config('SET', 'maxmemory', '1');
    await scene.consumer.settle(taken.slice(0, 3).map(ack));
    expect(await scene.fields()).toHaveLength(1);
    const requeued = taken.slice(3, 6).map((delivery) => front(delivery));
    const isDone = await scene.consumer.settle(requeued).then(
      () => true,
      () => false,
    );
    await scene.client.config('SET', 'maxmemory', '0');
    if (!isDone) await scene.consumer.settle(requeued);
    expect(await scene.waiting()).toEqual(names(4, 6));
    await scene.consumer.settle(taken.slice(6).map(ack));
    expect(await scene.fields()).toEqual([]);
    expect((await drain(scene.consumer, 3)).map(uuidOf)).toEqual(names(4, 6));
  });

  it('of a worker that dies leaves what it has not settled: in order, as redeliveries', async () => {
    const scene = await newScene();
    await scene.publish(...names(1, 12));
    const taken = await scene.take(10);
    await scene.consumer.settle(taken.filter((_, i) => i % 2 === 0).map(ack));
    const other = await open({ url, leaseMs: 1_000, scanMs: 100 }).consume({
      queue: scene.queue,
      tag: 'other',
      slots: 20,
      maxInHand: 20,
    });
    const [worker = ''] = (await scene.fields()).map((field) => field.replace(/:\d+$/, ''));
    const fieldsOnceTheLeaseIsOver = async () => {
      await scene.client.zadd(`{${scene.queue}}:workers`, 'XX', 1, worker); // a beat may come in between
      return scene.fields();
    };
    const got: Delivery[] = [];
    await expect.poll(fieldsOnceTheLeaseIsOver, { timeout: 5_000 }).toEqual([]);
    while (got.length < 7) got.push(...(await other.exchange([], 7 - got.length, soon())));
    expect(got.map((delivery) => [uuidOf(delivery), delivery.redelivered, delivery.deliveryCount])).toEqual([
      ...['m2', 'm4', 'm6', 'm8', 'm10'].map((uuid) => [uuid, true, 2]),
      ['m11', false, 1],
      ['m12', false, 1],
    ]);
    await scene.consumer.settle(taken.map(ack)); // not its any more
    expect(await scene.fields()).toHaveLength(1);
  });

  it('whose partial settlement loses its reply ends where it should', async () => {
    const proxy = await tcpProxy({ to: redis?.port as number });
    onTestFinished(() => proxy.close());
    const scene = await newScene(`redis://127.0.0.1:${proxy.port}`, { leaseMs: 60_000, beatMs: 300 }, url);
    await scene.publish(...names(1, 12));
    const taken = await scene.take(10);
    const part = [
      ...taken.slice(0, 2).map(ack),
      front(taken[4] as Delivery),
      dead(taken[5] as Delivery),
      back(taken[6] as Delivery),
    ];
    proxy.stall('replies');
    const settling = scene.consumer.exchange(part, 2, soon()).then(
      () => 'answered',
      () => 'lost',
    );
    await expect.poll(() => scene.dead(), { timeout: 5_000 }).toEqual(['m6']);
    proxy.cut();
    proxy.resume();
    expect(await settling).toBe('lost');
    // What the lost reply took comes first, and as new
    const found: Delivery[] = [];
    while (found.length < 4) found.push(...(await scene.consumer.exchange(part, 4 - found.length, soon())));
    expect(found.map((delivery) => [uuidOf(delivery), delivery.redelivered])).toEqual(
      ['m5', 'm11', 'm12', 'm7'].map((uuid) => [uuid, false]),
    );
    await scene.consumer.settle([...taken, ...found].map(ack));
    expect(await scene.fields()).toEqual([]);
    expect(await scene.waiting()).toEqual([]);
    expect(await scene.dead()).toEqual(['m6']);
  });
});

describe.skipIf(redis === undefined)('batches that are settled at random', () => {
  it.each(Array.from({ length: 20 }, (_, i) => i + 1))('are as a model has them, seed %i', async (seed) => {
    const random = seededRandom(seed);
    const below = (n: number) => Math.floor(random() * n);
    const scene = await newScene();
    /** In order: the place is kept by what is put to the front. */
    let queue: { uuid: string; place: number; begun: boolean }[] = [];
    const held: { delivery: Delivery; place: number; begun: boolean }[] = [];
    const buried: string[] = [];
    let published = 0;
    let nextPlace = 1;
    for (let step = 0; step < 60; step++) {
      const what = below(3);
      if (what === 0) {
        const size = below(12);
        const uuids = names(published + 1, published + size);
        published += size;
        if (size > 0) await scene.publish(...uuids);
        queue.push(...uuids.map((uuid) => ({ uuid, place: 0, begun: false })));
        continue;
      }
      const settled: Settlement[] = [];
      const fronts: typeof queue = [];
      for (let n = below(held.length + 1); n > 0; n--) {
        const [one] = held.splice(below(held.length), 1);
        if (one === undefined) break;
        const { delivery, place } = one;
        const uuid = uuidOf(delivery);
        const how = below(6);
        const begun = how === 3;
        if (how <= 1) settled.push(ack(delivery));
        else if (how <= 3) {
          settled.push(front(delivery, begun));
          fronts.push({ uuid, place, begun: begun || one.begun });
        } else if (how === 4) {
          settled.push(back(delivery));
          queue.push({ uuid, place: 0, begun: one.begun });
        } else {
          settled.push(dead(delivery));
          buried.push(uuid);
        }
        if (random() < 0.2) settled.push(ack(delivery)); // twice: the first counts
      }
      // Those with a place are first, in its order
      const placed = [...fronts, ...queue.filter(({ place }) => place > 0)].sort((a, b) => a.place - b.place);
      queue = [...placed, ...queue.filter(({ place }) => place === 0)];
      const want = what === 1 || queue.length === 0 ? 0 : 1 + below(15);
      if (want === 0) {
        await scene.consumer.settle(settled);
        continue;
      }
      const taken = await scene.consumer.exchange(settled, want, soon());
      const expected = queue.splice(0, want);
      expect(taken.map((delivery) => [uuidOf(delivery), delivery.redelivered])).toEqual(
        expected.map(({ uuid, begun }) => [uuid, begun]),
      );
      for (const [i, delivery] of taken.entries()) {
        const { place, begun } = expected[i] as (typeof expected)[number];
        held.push({ delivery, place: place || nextPlace++, begun });
      }
    }
    expect(await scene.waiting()).toEqual(queue.map(({ uuid }) => uuid));
    expect(await scene.dead()).toEqual(buried);
    await scene.consumer.settle(held.map(({ delivery }) => ack(delivery)));
    expect(await scene.fields()).toEqual([]);
    expect(await scene.waiting()).toEqual(queue.map(({ uuid }) => uuid));
  });
});
