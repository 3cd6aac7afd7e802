// Who counts as alive, and that nothing stays with those who do not.

import { execFileSync } from 'node:child_process';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { redisServer, startRedisCluster } from '@machinery/services';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, it } from 'vitest';
import { drain, message, newQueue, open, putInHand, raw, uuidOf } from './setup.ts';

const [redis, cluster] = await Promise.all([redisServer(), startRedisCluster()]);
afterAll(() => Promise.all([redis?.stop(), cluster?.stop()]));
const quick = { leaseMs: 1_000, beatMs: 200 };
const tag = 'worker';

describe.each([
  ['one server', redis?.url],
  ['a Cluster', cluster?.url],
])('on %s', (_, there) => {
  const url = there as string;
  const test = it.skipIf(there === undefined);

  test('what a worker without an entry in the registry has in hand is found', async () => {
    const queue = newQueue();
    const { body } = message(queue, 'lost');
    await putInHand(raw(url), queue, 'somebody:17', body);
    const consumer = await open({ url, ...quick }).consume({ queue, tag, slots: 1, maxInHand: 1 });
    const [delivery] = await drain(consumer, 1);
    expect(delivery).toMatchObject({ body, redelivered: true, deliveryCount: 2 });
  });

  test('what was moved for a worker that died before it took it is found, first of all, and is no redelivery', async () => {
    const queue = newQueue();
    const client = raw(url);
    await client.rpush(`{${queue}}:intake`, message(queue, 'first').body);
    await client.rpush(queue, message(queue, 'second').body);
    const consumer = await open({ url, ...quick }).consume({ queue, tag, slots: 1, maxInHand: 1 });
    await expect.poll(() => client.llen(`{${queue}}:intake`)).toBe(0);
    const taken = await drain(consumer, 2);
    expect(taken.map(uuidOf)).toEqual(['first', 'second']);
    expect(taken.map(({ redelivered }) => redelivered)).toEqual([false, false]);
  });

  test('a worker whose entry was deleted loses what it has to others, knows it, and goes on', async () => {
    const queue = newQueue();
    const client = raw(url);
    const options = { queue, slots: 1, maxInHand: 1 };
    const consumer = await open({ url, ...quick, scanMs: 60_000 }).consume({ ...options, tag: 'one' });
    await open({ url }).publish([message(queue, 'a')]);
    const [delivery] = await consumer.exchange([], 1, AbortSignal.timeout(5_000));
    if (delivery === undefined) throw new Error('Expected a delivery');
    expect(await consumer.owns?.(delivery)).toBe(true);
    const other = await open({ url, ...quick }).consume({ ...options, tag: 'two' });
    const taking = drain(other, 1);
    let isTaken = false;
    void taking.then(() => {
      isTaken = true;
    });
    // Again and again: its next beat enters it anew
    while (!isTaken) await client.del(`{${queue}}:workers`, `{${queue}}:scanned`);
    expect(await taking).toMatchObject([{ body: delivery.body, redelivered: true }]);
    await expect.poll(() => consumer.owns?.(delivery)).toBe(false);
    await other.close();
    await open({ url }).publish([message(queue, 'b')]);
    const [next] = await consumer.exchange([{ kind: 'ack', delivery }], 1, AbortSignal.timeout(5_000));
    expect(next && uuidOf(next)).toBe('b');
    expect(next && (await consumer.owns?.(next))).toBe(true);
  });
});

/** Blocks the event loop. */
function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

/** Whether the registry of a queue has a worker whose lease runs, by the server's clock: asked while the event loop is blocked. */
function isAlive(url: string, queue: string): boolean {
  const program = `
    import { Redis } from 'ioredis';
    const client = new Redis('${url}');
    const [, until = '0'] = await client.zrange('{${queue}}:workers', '0', '0', 'WITHSCORES');
    const [seconds, microseconds] = await client.time();
    console.log(Number(until) > Number(seconds) * 1_000 + Number(microseconds) / 1_000);
    client.disconnect();`;
  const args = ['--input-type=module', '--eval', program];
  return execFileSync(process.execPath, args, { cwd: import.meta.dirname, encoding: 'utf8' }) === 'true\n';
}

describe.skipIf(redis === undefined)('a worker whose event loop is blocked', () => {
  const { url = '' } = redis ?? {};

  it('is alive', async () => {
    const queue = newQueue();
    await open({ url, ...quick }).consume({ queue, tag, slots: 1, maxInHand: 1 });
    block(3_000);
    expect(isAlive(url, queue)).toBe(true);
  });

  it('for longer than `maxBlockedMs` is not, until it goes on', async () => {
    const queue = newQueue();
    await open({ url, ...quick, scanMs: 60_000, maxBlockedMs: 1_000 }).consume({ queue, tag, slots: 1, maxInHand: 1 });
    block(4_000);
    expect(isAlive(url, queue)).toBe(false);
    await expect.poll(() => isAlive(url, queue), { timeout: 5_000 }).toBe(true);
  }, 15_000);

  it('is not with `maxBlockedMs` 0, which has no thread, until it goes on', async () => {
    const queue = newQueue();
    const broker = open({ url, ...quick, scanMs: 60_000, maxBlockedMs: 0 });
    const warnings: string[] = [];
    const logger = { debug() {}, info() {}, warn: (text: string) => void warnings.push(text), error() {} };
    broker.attach({ defaultQueue: queue, logger });
    await broker.consume({ queue, tag, slots: 1, maxInHand: 1 });
    block(2_500);
    expect(isAlive(url, queue)).toBe(false);
    await expect.poll(() => isAlive(url, queue), { timeout: 5_000 }).toBe(true);
    await sleep(1_500);
    expect(isAlive(url, queue)).toBe(true);
    expect(warnings).toEqual([]);
  }, 15_000);

  it('is alive behind a client with settings of its own', async () => {
    const queue = newQueue();
    const client = new Redis(url, { lazyConnect: true, retryStrategy: () => 10, reconnectOnError: () => false });
    const broker = open({ client, ...quick });
    const warnings: string[] = [];
    const logger = { debug() {}, info() {}, warn: (text: string) => void warnings.push(text), error() {} };
    broker.attach({ defaultQueue: queue, logger });
    await broker.consume({ queue, tag, slots: 1, maxInHand: 1 });
    block(2_500);
    expect(isAlive(url, queue)).toBe(true);
    expect(warnings).toEqual([]);
  });

  it('is not where a thread cannot have its settings, which is said', async () => {
    const queue = newQueue();
    const settings = { lazyConnect: true, tls: { checkServerIdentity: () => undefined } };
    const client = new Redis(url, settings as object);
    delete client.options.tls;
    Object.assign(client.options, { ofTheUser: { hook() {} } });
    const broker = open({ client, ...quick });
    const warnings: string[] = [];
    const logger = { debug() {}, info() {}, warn: (text: string) => void warnings.push(text), error() {} };
    broker.attach({ defaultQueue: queue, logger });
    const consumer = await broker.consume({ queue, tag, slots: 1, maxInHand: 1 });
    expect(warnings).toEqual([expect.stringContaining('a task that blocks it for 1000 ms counts as lost')]);
    await broker.publish([message(queue, 'a')]);
    expect((await drain(consumer, 1)).map(uuidOf)).toEqual(['a']);
    await expect.poll(() => isAlive(url, queue), { timeout: 3_000, interval: 1_200 }).toBe(true);
  });
});
