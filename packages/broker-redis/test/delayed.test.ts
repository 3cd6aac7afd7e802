// Delayed messages: who tells of them, when they come, and what becomes of those that were on their way.

import { runScript } from '@machinery/redis-client';
import { startRedis, startRedisCluster } from '@machinery/services';
import type { Cluster, Redis } from 'ioredis';
import { afterAll, describe, expect, it } from 'vitest';
import { lendDelayed } from '../src/scripts.ts';
import { drain, message, newQueue, open, raw, uuidOf } from './setup.ts';

const [redis, cluster] = await Promise.all([startRedis(), startRedisCluster()]);
afterAll(() => Promise.all([redis?.stop(), cluster?.stop()]));
const key = 'delayed_tasks';
const hand = { tag: 'worker', slots: 1_000, maxInHand: 1_000 };

/** The server's clock, in Unix milliseconds; the nodes of a Cluster here have the same. */
async function clockOf(client: Redis | Cluster): Promise<number> {
  const [seconds, microseconds] = await client.time();
  return Number(seconds) * 1_000 + Number(microseconds) / 1_000;
}

describe.skipIf(redis === undefined)('delayed messages', () => {
  const { url = '' } = redis ?? {};

  it('that a Go producer adds to an empty set are seen at once: the server says so', async () => {
    const queue = newQueue();
    const client = raw(url);
    const consumer = await open({ url, delayedPollMs: 60_000 }).consume({ queue, ...hand });
    for (const uuid of ['a', 'b']) {
      const dueAt = Date.now() + 200;
      await client.zadd(key, `${dueAt}123456`, message(queue, uuid).body);
      expect((await drain(consumer, 1)).map(uuidOf)).toEqual([uuid]);
      expect(await clockOf(client)).toBeGreaterThanOrEqual(dueAt);
    }
  });

  it('that come before what the set has wake who sleeps', async () => {
    const queue = newQueue();
    const broker = open({ url, delayedPollMs: 60_000 });
    const consumer = await broker.consume({ queue, ...hand });
    const now = Date.now();
    await broker.publish([message(queue, 'late', now + 3_600_000)]);
    await broker.publish([message(queue, 'soon', now + 300)]);
    expect((await drain(consumer, 1)).map(uuidOf)).toEqual(['soon']);
    await raw(url).del(key);
  });

  it('are polled for where the server does not say it', async () => {
    const queue = newQueue();
    const client = raw(url);
    await client.call('ACL', 'SETUSER', 'plain', 'on', '>secret', '~*', '+@all', '-client|tracking');
    const plain = url.replace('redis://', 'redis://plain:secret@');
    const consumer = await open({ url: plain, delayedPollMs: 50 }).consume({ queue, ...hand });
    await client.zadd(key, `${Date.now() + 100}000000`, message(queue, 'a').body);
    expect((await drain(consumer, 1)).map(uuidOf)).toEqual(['a']);
  });

  it('go to the queue that they name, however they name it, and to the default one when they name none', async () => {
    const [queue, other] = [newQueue(), `${newQueue()} "quoted" \\ ü`];
    const broker = open({ url });
    broker.attach({ defaultQueue: queue, logger: console });
    const client = raw(url);
    const nested = `${'{"OnSuccess":['.repeat(300)}${']}'.repeat(300)}`;
    const bodies = [
      `{"UUID":"1","Name":"task","RoutingKey":"","ETA":null}`,
      `{"Name":"task","UUID":"2"}`,
      `{"UUID":"3","Name":"a \\"RoutingKey\\":\\"wrong\\"","OnSuccess":[{"RoutingKey":"wrong"}]}`,
      `{"UUID":"4","Name":"task","OnSuccess":[${nested}]}`,
    ];
    const others = [
      JSON.stringify({ UUID: '5', Name: 'task', RoutingKey: other }),
      JSON.stringify({ UUID: '"6', Name: 'ü', RoutingKey: other }),
      JSON.stringify({ Name: 'task', OnSuccess: [{ RoutingKey: 'wrong' }], UUID: '7', RoutingKey: other }),
    ];
    for (const [i, body] of [...bodies, ...others].entries()) await client.zadd(key, i, body);
    const [consumer, second] = [
      await broker.consume({ queue, ...hand }),
      await broker.consume({ queue: other, ...hand }),
    ];
    expect((await drain(consumer, bodies.length)).map(({ body }) => body)).toEqual(bodies);
    expect((await drain(second, others.length)).map(({ body }) => body)).toEqual(others);
  });
});

describe.each([
  ['one server', redis?.url],
  ['a Cluster', cluster?.url],
])('10,000 that are due in one second, on %s', (_, there) => {
  it.skipIf(there === undefined)('come in their order, none before its time', { timeout: 30_000 }, async () => {
    const url = there as string;
    const queue = newQueue();
    const broker = open({ url });
    const start = Date.now() + 1_500;
    const dueAt = (i: number) => start + Math.floor(i / 10);
    const uuids = Array.from({ length: 10_000 }, (_, i) => String(i).padStart(5, '0'));
    const shuffled = uuids.map((_, i) => (i * 7_919) % uuids.length);
    await broker.publish(shuffled.map((i) => message(queue, uuids[i] as string, dueAt(i))));
    const consumer = await broker.consume({ queue, ...hand });
    const client = raw(url);
    const taken: string[] = [];
    while (taken.length < uuids.length) {
      const batch = (await consumer.exchange([], 1_000, AbortSignal.timeout(10_000))) as { body: string }[];
      const now = await clockOf(client);
      const last = dueAt(Math.max(...batch.map(({ body }) => Number(JSON.parse(body).UUID))));
      expect(last).toBeLessThanOrEqual(now);
      taken.push(...batch.map(({ body }) => JSON.parse(body).UUID as string));
      await consumer.settle(batch.map((delivery) => ({ kind: 'ack', delivery }) as never));
    }
    expect(taken).toEqual(uuids);
  });
});

describe.skipIf(cluster === undefined)('in a Cluster', () => {
  it('what somebody had lent when he died is lent again', async () => {
    const { url = '' } = cluster ?? {};
    const queue = newQueue();
    const client = raw(url);
    const { body } = message(queue, 'a');
    await client.zadd(key, 1, body);
    const [lent] = (await runScript(client, lendDelayed, key, 100, 400)) as [string[]];
    expect(lent).toEqual([body, '1']);
    const consumer = await open({ url }).consume({ queue, ...hand });
    expect((await drain(consumer, 1)).map(uuidOf)).toEqual(['a']);
    expect(await client.zcard(key)).toBe(0);
  });
});
