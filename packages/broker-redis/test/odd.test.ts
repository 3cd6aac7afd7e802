// What is odd: keys of another type, tags and names with anything in them, settings that do not go together, very much at once.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { Delivery, Settlement } from '@machinery/core';
import { startRedis, startRedisCluster } from '@machinery/services';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { RedisBroker } from '../src/index.ts';
import { drain, message, newQueue, open, putInHand, raw, uuidOf } from './setup.ts';

const [redis, cluster] = await Promise.all([startRedis(), startRedisCluster()]);
afterAll(() => Promise.all([redis?.stop(), cluster?.stop()]));
const url = redis?.url as string;
const hand = { tag: 'worker', slots: 10, maxInHand: 10 };
const soon = () => AbortSignal.timeout(300);
const error = (code: string, text: string) => expect.objectContaining({ code, message: expect.stringContaining(text) });

describe.each([
  ['one server', redis?.url],
  ['a Cluster', cluster?.url],
])('on %s', (_, there) => {
  const at = there as string;
  const test = it.skipIf(there === undefined);

  test('a delayed message that cannot be moved holds up no other, and is said', async () => {
    const queue = newQueue();
    const client = raw(at);
    await client.set(`${queue}-text`, 'no list');
    const broker = open({ url: at });
    const warnings: string[] = [];
    const logger = { debug() {}, info() {}, warn: (text: string) => void warnings.push(text), error() {} };
    broker.attach({ defaultQueue: queue, logger });
    const due = Date.now() + 200;
    await broker.publish([
      message(queue, 'first', due),
      message(`${queue}-text`, 'refused', due + 1),
      message(queue, 'second', due + 2),
    ]);
    const consumer = await broker.consume({ queue, ...hand });
    expect((await drain(consumer, 2)).map(uuidOf).sort()).toEqual(['first', 'second']);
    await expect.poll(() => warnings.join()).toContain(`${queue}-text`);
    expect((await broker.delayedMessages(10)).map((body) => JSON.parse(body).UUID)).toEqual(['refused']);
    expect(await consumer.exchange([], 1, soon())).toEqual([]);
    await client.del('delayed_tasks');
  });

  test('queues whose names have braces keep apart', async () => {
    const name = newQueue();
    const queues = [name, `{${name}}`, `{${name}}:`, `x{${name}}y`];
    for (const queue of queues) {
      const broker = open({ url: at, leaseMs: 1_000 });
      const consumer = await broker.consume({ queue, ...hand });
      await broker.publish([message(queue, queue)]);
      const [delivery] = await consumer.exchange([], 1, AbortSignal.timeout(5_000));
      expect(delivery && uuidOf(delivery)).toBe(queue);
    }
    await expect(open({ url: at }).consume({ queue: `${name}}`, ...hand })).rejects.toEqual(
      error('ERR_MACHINERY_INVALID_ARGUMENT', `${name}}: expected braces`),
    );
  });
});

describe.skipIf(redis === undefined)('on one server', () => {
  it.each(['worker 1', 'a\nb', 'ü:1 2'])('a worker named %j puts back later what it got', async (tag) => {
    const queue = newQueue();
    const broker = open({ url });
    const consumer = await broker.consume({ queue, ...hand, tag });
    await broker.publish([message(queue, 'a')]);
    const [delivery] = await consumer.exchange([], 1, AbortSignal.timeout(5_000));
    if (delivery === undefined) throw new Error('Expected a delivery');
    await consumer.settle([{ kind: 'requeue', delivery, position: 'back', delayMs: 50 }]);
    expect(await drain(consumer, 1)).toMatchObject([{ body: delivery.body }]);
  });

  it.each(['sequence', 'inflight', 'front', 'deliveries'])('a %s of another type destroys no message', async (key) => {
    const queue = newQueue();
    const client = raw(url);
    const broker = open({ url });
    const consumer = await broker.consume({ queue, ...hand });
    const bodies = ['a', 'b', 'c'].map((uuid) => message(queue, uuid));
    await client.set(`{${queue}}:${key}`, 'odd');
    await broker.publish(bodies);
    for (let i = 0; i < 3; i++)
      await expect(consumer.exchange([], 2, AbortSignal.timeout(5_000))).rejects.toEqual(
        error('ERR_MACHINERY_BROKER_FAILED', 'Redis could not'),
      );
    await client.del(`{${queue}}:${key}`);
    expect((await drain(consumer, 3)).map(uuidOf).sort()).toEqual(['a', 'b', 'c']);
  });

  it('a queue whose key is no list keeps what was moved for a worker', async () => {
    const queue = newQueue();
    const client = raw(url);
    const { body } = message(queue, 'a');
    const consumer = await open({ url }).consume({ queue, ...hand });
    await client.rpush(`{${queue}}:intake`, body);
    await client.set(queue, 'no list');
    for (let i = 0; i < 3; i++)
      await expect(consumer.exchange([], 1, AbortSignal.timeout(5_000))).rejects.toEqual(
        error('ERR_MACHINERY_BROKER_FAILED', 'WRONGTYPE'),
      );
    await client.del(queue);
    expect(await drain(consumer, 1)).toMatchObject([{ body }]);
  });

  it('a full server is not asked all the time to move what is due', async () => {
    const full = await startRedis({ settings: ['--maxmemory-policy', 'noeviction'] });
    onTestFinished(() => full?.stop());
    const client = raw(full?.url as string) as Redis;
    const queue = newQueue();
    await open({ url: full?.url as string }).consume({ queue, ...hand });
    await client.zadd('delayed_tasks', `${Date.now() + 300}000000`, message(queue, 'a').body);
    await client.config('SET', 'maxmemory', '1mb');
    await client.config('RESETSTAT');
    const looks = async () => Number(/cmdstat_zrange:calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(await client.zcard('delayed_tasks')).toBe(1);
    expect(await looks()).toBeLessThan(50);
    await client.config('SET', 'maxmemory', '0');
    await expect.poll(() => client.zcard('delayed_tasks'), { timeout: 3_000 }).toBe(0);
  });

  it('foreign fields among what is in hand harm nobody', async () => {
    const queue = newQueue();
    const { body } = message(queue, 'a');
    await raw(url).hset(`{${queue}}:inflight`, 'foreign', 'x', 'gone:1', 'no batch', 'gone:2', '\x91\xa1x');
    await putInHand(raw(url), queue, 'gone:3', body);
    const consumer = await open({ url, leaseMs: 1_000 }).consume({ queue, ...hand });
    expect(await drain(consumer, 1)).toMatchObject([{ body, redelivered: true }]);
  });

  it('a dead message that is published again begins anew', async () => {
    const queue = newQueue();
    const { body } = message(queue, 'a');
    await putInHand(raw(url), queue, 'gone:1', body);
    const broker = open({ url, leaseMs: 1_000 });
    const consumer = await broker.consume({ queue, ...hand });
    const [delivery] = await consumer.exchange([], 1, AbortSignal.timeout(5_000));
    if (delivery === undefined) throw new Error('Expected a delivery');
    expect(delivery.deliveryCount).toBe(2);
    await consumer.settle([{ kind: 'dead', delivery, reason: 'for a test' }]);
    await broker.publish([message(queue, 'a')]);
    expect(await drain(consumer, 1)).toMatchObject([{ redelivered: false, deliveryCount: 1 }]);
  });

  it('tens of thousands are settled at once', { timeout: 30_000 }, async () => {
    const queue = newQueue();
    const broker = open({ url });
    const consumer = await broker.consume({ queue, ...hand });
    const count = 30_000;
    for (let from = 0; from < count; from += 1_000)
      await broker.publish(Array.from({ length: 1_000 }, (_, i) => message(queue, String(from + i))));
    const taken: Delivery[] = [];
    while (taken.length < count) taken.push(...(await consumer.exchange([], count, AbortSignal.timeout(5_000))));
    const requeue = (delivery: Delivery): Settlement => ({
      kind: 'requeue',
      delivery,
      position: 'front',
    });
    await consumer.settle(taken.map(requeue));
    expect((await drain(consumer, count)).map(uuidOf)).toEqual(Array.from({ length: count }, (_, i) => String(i)));
    expect(await raw(url).exists(`{${queue}}:inflight`, queue)).toBe(0);
  });

  it('a broker that is closed while it starts to consume leaves nothing', async () => {
    const program = new URL('faults/close-while-starting.mjs', import.meta.url);
    const [code] = await once(fork(program, [url], { execArgv: [], stdio: 'inherit', timeout: 10_000 }), 'exit');
    expect(code).toBe(0);
  });

  it('the server is listened to again after each lost connection', async () => {
    const queue = newQueue();
    const client = raw(url) as Redis;
    const consumer = await open({ url, delayedPollMs: 60_000 }).consume({ queue, ...hand });
    for (const uuid of ['a', 'b']) {
      const subscribed = () => client.client('LIST', 'TYPE', 'PUBSUB');
      await expect.poll(subscribed, { timeout: 5_000 }).toContain('flags=PtB');
      const before = await subscribed();
      await client.client('KILL', 'TYPE', 'PUBSUB');
      await expect.poll(subscribed, { timeout: 5_000 }).toContain('flags=PtB');
      expect(await subscribed()).not.toBe(before);
      await client.zadd('delayed_tasks', `${Date.now() + 100}000000`, message(queue, uuid).body);
      expect((await drain(consumer, 1, 3_000)).map(uuidOf)).toEqual([uuid]);
    }
  });
});

it.each([
  ['a beat too seldom for the lease', { url: 'redis://h', beatMs: 5_000, leaseMs: 10_000 }, 'beatMs'],
  ['a limit below the beat', { url: 'redis://h', beatMs: 2_000, maxBlockedMs: 3_000 }, 'maxBlockedMs'],
  ['a limit that is negative', { url: 'redis://h', maxBlockedMs: -1 }, 'maxBlockedMs'],
  ['a client with a prefix', { client: new Redis({ lazyConnect: true, keyPrefix: 'app:' }) }, 'keyPrefix'],
])('refuses %s', (_, options, text) => {
  expect(() => new RedisBroker(options)).toThrow(error('ERR_MACHINERY_INVALID_OPTION', text));
});
