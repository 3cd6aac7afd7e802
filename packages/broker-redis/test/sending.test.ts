// A send as one command: the PENDING of a task with its message, where broker and backend share a database.

import { RedisBackend } from '@machinery/backend-redis';
import { defineTask, int64, type Outcome, type Send, Server, silentLogger } from '@machinery/core';
import { startRedis, startRedisCluster, tcpProxy } from '@machinery/services';
import type { Redis } from 'ioredis';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { message, newQueue, open, raw } from './setup.ts';

const [redis, cluster] = await Promise.all([startRedis(), startRedisCluster()]);
afterAll(() => Promise.all([redis?.stop(), cluster?.stop()]));
const url = redis?.url as string;
const task = defineTask('task', { args: [int64], returns: int64 });
const isStored = (outcomes: readonly Outcome[]) => outcomes.every(({ status }) => status === 'stored');

function openBackend(at: string): RedisBackend {
  const backend = new RedisBackend({ url: at });
  onTestFinished(() => backend.close().catch(() => {}));
  return backend;
}

/** What sends in one step on the Redis of a URL. */
function sendingAt(at: string) {
  const send = open({ url: at }).sendingWith(openBackend(at));
  if (send === undefined) throw new Error('Expected that broker and backend share a database');
  return send;
}

function sendOf(queue: string, uuid: string, expiresInSeconds = 60, dueAtMs?: number): Send {
  const state = { taskUuid: uuid, taskName: 'task', state: 'PENDING', createdAt: '2026-11-21T08:00:00.123Z' } as const;
  return { message: message(queue, uuid, dueAtMs), pending: { state, expiresInSeconds } };
}

/** How often the server ran each command since the last reset. */
async function calls(client: Redis): Promise<Record<string, number>> {
  const found = (await client.info('commandstats')).matchAll(/cmdstat_([\w|]+):calls=(\d+)/g);
  const counts = Object.fromEntries([...found].map(([, name, count]) => [name, Number(count)]));
  delete counts['config|resetstat'];
  return counts;
}

const bodiesOf = (sends: readonly Send[]) => sends.map(({ message: { body } }) => body);

describe.skipIf(redis === undefined)('on one server', () => {
  function newServer(brokerUrl: string, backendUrl: string) {
    const queue = newQueue();
    const broker = open({ url: brokerUrl });
    const server = new Server({ broker, backend: openBackend(backendUrl), defaultQueue: queue, logger: silentLogger });
    onTestFinished(() => server.close().catch(() => {}));
    return { server, queue };
  }

  it('a send is one command, however many are sent at once', async () => {
    const { server, queue } = newServer(url, url);
    const client = raw(url) as Redis;
    await server.send(task(0));
    await client.config('RESETSTAT');
    await Promise.all(Array.from({ length: 100 }, (_, n) => server.send(task(n))));
    expect(await calls(client)).toEqual({ evalsha: 1, set: 100, rpush: 1 });
    expect(await client.llen(queue)).toBe(101);
  });

  it('the task can be asked for, and runs', async () => {
    const { server } = newServer(url, url);
    const result = await server.send(task(2));
    expect(await result.state()).toMatchObject({ state: 'PENDING', taskName: 'task' });
    server.handle(task, (_task, n) => n * 2);
    const worker = server.newWorker('worker');
    await worker.start();
    expect(await result.get({ timeoutMs: 10_000 })).toBe(4);
    await worker.quit();
  });

  it.each([
    ['another database', `${url}/1`],
    ['the host by another name', url?.replace('127.0.0.1', 'localhost')],
  ])('a backend on %s is written to by itself', async (_, backendUrl) => {
    const { server, queue } = newServer(url, backendUrl);
    await server.send(task(0));
    const client = raw(url) as Redis;
    await client.config('RESETSTAT');
    const { uuid } = await server.send(task(1));
    expect(await calls(client)).toMatchObject({ evalsha: 1, set: 1, rpush: 1 });
    expect(await client.llen(queue)).toBe(2);
    expect(await raw(backendUrl).exists(uuid)).toBe(1);
    expect(open({ url }).sendingWith(openBackend(backendUrl))).toBeUndefined();
  });

  it('each state has its own expiry, and each message is in its place', async () => {
    const [first, second] = [newQueue(), newQueue()];
    const client = raw(url);
    const due = Date.now() + 3_600_000;
    const sends = Array.from({ length: 60 }, (_, i) => {
      const queue = i % 2 === 0 ? first : second;
      return sendOf(queue, `${queue}-${i}`, 100 * ((i % 5) + 1), i % 3 === 0 ? due + 60 - i : undefined);
    });
    expect(isStored(await sendingAt(url)(sends))).toBe(true);
    for (const { pending } of sends) {
      const ttl = await client.ttl(pending.state.taskUuid);
      expect(pending.expiresInSeconds - ttl).toBeGreaterThanOrEqual(0);
      expect(pending.expiresInSeconds - ttl).toBeLessThan(10);
    }
    const states = await openBackend(url).read(sends.map(({ pending }) => pending.state.taskUuid));
    expect(states).toEqual(sends.map(({ pending }) => pending.state));
    for (const queue of [first, second]) {
      const now = sends.filter((send) => send.message.routingKey === queue && send.message.dueAtMs === undefined);
      expect(await client.lrange(queue, 0, -1)).toEqual(bodiesOf(now));
    }
    const later = sends.filter((send) => send.message.dueAtMs !== undefined);
    expect(await client.zrange('delayed_tasks', '0', '-1')).toEqual(bodiesOf(later).reverse());
    const score = await client.zscore('delayed_tasks', bodiesOf(later)[0] as string);
    expect(Number(score)).toBe(Number(`${due + 60}000000`));
    await client.del('delayed_tasks');
  });

  it('a thousand are sent at once, large ones and delayed ones, in their order', async () => {
    const queue = newQueue();
    const client = raw(url);
    const large = { name: 'x'.repeat(50_000) };
    const sends = Array.from({ length: 1_000 }, (_, i) => {
      const send = sendOf(queue, `${queue}-${i}`, 60, i < 500 ? Date.now() + 3_600_000 + i : undefined);
      const { body } = send.message;
      return i % 20 === 0
        ? { ...send, message: { ...send.message, body: `${body.slice(0, -1)},"x":"${large.name}"}` } }
        : send;
    });
    expect(isStored(await sendingAt(url)(sends))).toBe(true);
    expect(await client.lrange(queue, 0, -1)).toEqual(bodiesOf(sends.slice(500)));
    expect(await client.zrange('delayed_tasks', '0', '-1')).toEqual(bodiesOf(sends.slice(0, 500)));
    expect(await client.exists(...sends.map(({ pending }) => pending.state.taskUuid))).toBe(1_000);
    await client.del('delayed_tasks');
  });

  it('a queue whose key is no list is named, and the others of the batch are sent', async () => {
    const [odd, queue] = [newQueue(), newQueue()];
    const client = raw(url);
    await client.set(odd, 'no list');
    const [refused, sent] = await sendingAt(url)([sendOf(odd, `${odd}-1`), sendOf(queue, `${queue}-1`)]);
    const text = expect.stringContaining(`to queue ${odd}: WRONGTYPE`);
    const error = expect.objectContaining({ code: 'ERR_MACHINERY_BROKER_FAILED', message: text });
    expect(refused).toEqual({ status: 'failed', retryable: false, error });
    expect(sent?.status).toBe('stored');
    expect(await client.llen(queue)).toBe(1);
  });

  it('a server that is full stores nothing of it, and can be tried again', async () => {
    const full = await startRedis({ settings: ['--maxmemory-policy', 'noeviction'] });
    onTestFinished(() => full?.stop());
    const at = full?.url as string;
    const client = raw(at) as Redis;
    const queue = newQueue();
    const send = sendingAt(at);
    await send([sendOf(queue, 'before')]);
    await client.config('SET', 'maxmemory', '1');
    const error = expect.objectContaining({ code: 'ERR_MACHINERY_BROKER_UNAVAILABLE' });
    expect(await send([sendOf(queue, 'a'), sendOf(queue, 'b', 60, Date.now() + 60_000)])).toEqual([
      { status: 'failed', retryable: true, error },
      { status: 'failed', retryable: true, error },
    ]);
    expect(await client.exists('a', 'b', 'delayed_tasks')).toBe(0);
    await client.config('SET', 'maxmemory', '0');
    expect(isStored(await send([sendOf(queue, 'a')]))).toBe(true);
    expect(await client.llen(queue)).toBe(2);
  });

  it('a reply that is lost leaves unknown whether it was sent; it was, once and whole', async () => {
    const proxy = await tcpProxy({ to: redis?.port as number });
    onTestFinished(() => proxy.close());
    const at = `redis://127.0.0.1:${proxy.port}`;
    const { server, queue } = newServer(at, at);
    const client = raw(url);
    await server.send(task(0));
    proxy.stall('replies');
    const sending = server.send(task(1), { uuid: `${queue}-lost` });
    const told = expect(sending).rejects.toMatchObject({ code: 'ERR_MACHINERY_PUBLISH_UNKNOWN' });
    await expect.poll(() => client.llen(queue), { timeout: 5_000 }).toBe(2);
    proxy.cut();
    proxy.resume();
    await told;
    expect(await client.llen(queue)).toBe(2);
    expect(await client.exists(`${queue}-lost`)).toBe(1);
    await server.send(task(2));
    expect(await client.llen(queue)).toBe(3);
  });
});

describe.skipIf(cluster === undefined)('on a Cluster', () => {
  it('states are stored by themselves, as they have other slots', async () => {
    const at = cluster?.url as string;
    const [broker, backend, queue] = [open({ url: at }), openBackend(at), newQueue()];
    expect(broker.sendingWith(backend)).toBeUndefined();
    const server = new Server({ broker, backend, defaultQueue: queue, logger: silentLogger });
    onTestFinished(() => server.close().catch(() => {}));
    const results = await Promise.all([1, 2, 3].map((n) => server.send(task(n))));
    expect(await raw(at).llen(queue)).toBe(3);
    for (const result of results) expect(await result.state()).toMatchObject({ state: 'PENDING' });
  });
});
