// The lock beside Go's holders, and what is written; a Redis that is away; a Cluster; schedulers that share it.

import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeSignature, defineTask, Server, silentLogger } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { connectRedis, type RedisConnection } from '@machinery/redis-client';
import { freePort, redisServer, startRedis, startRedisCluster } from '@machinery/services';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { RedisLock, type RedisLockOptions } from '../src/index.ts';

const redis = await redisServer();
const url = redis?.url ?? 'redis://127.0.0.1';
const opened: (RedisLock | RedisConnection)[] = [];
afterAll(async () => {
  await Promise.all(opened.map((one) => one.close()));
  await redis?.stop();
});

const open = (options: RedisLockOptions = { url }) => {
  const lock = new RedisLock(options);
  opened.push(lock);
  return lock;
};
/** What Go's programs and redis-cli would do. */
const connect = (to = url) => {
  const connection = connectRedis('Test', { url: to });
  opened.push(connection);
  return connection.client;
};

const inMs = (ms: number) => BigInt(Date.now() + ms) * 1_000_000n;
let keys = 0;
/** One that nobody has, as a periodic entry's. */
const newKey = () => `machinery_lock_program-${process.pid}-${Date.now()}-${keys++}* * * * *`;
const rejection = (code: string, message: unknown = expect.any(String)) => ({ code: `ERR_MACHINERY_${code}`, message });

describe('options', () => {
  it('are checked', () => {
    const invalid = (message: string) => expect.objectContaining(rejection('INVALID_OPTION', message));
    expect(() => new RedisLock({})).toThrowError(invalid('RedisLock: expected either `url` or `client`, got none'));
    expect(() => new RedisLock({ url: 'redis://secret@localhost/x' })).toThrowError(
      invalid('`redis://***@localhost/x` is no URL of a Redis: `x` is no number of a database'),
    );
    expect(() => new RedisLock({ url, retries: 3 } as never)).toThrowError(/^RedisLock: unknown option `retries`/);
    expect(() => new RedisLock({ url, commandTimeoutMs: 0 })).toThrowError(
      /^RedisLock: expected `commandTimeoutMs` to be an integer >= 1/,
    );
    expect(() => new RedisLock(undefined as never)).toThrowError(/^RedisLock: expected its options to be an object/);
  });
});

describe.skipIf(redis === undefined)('a lock', () => {
  it('is a key with its expiry in Unix nanoseconds, which Redis removes then', async () => {
    const [key, client] = [newKey(), connect()];
    const expiresAt = inMs(5_000) + 123_456n;
    expect(await open().acquire(key, expiresAt)).toBe(true);
    expect(await client.get(key)).toBe(String(expiresAt));
    const ttl = await client.pttl(key);
    expect(ttl).toBeGreaterThan(4_000);
    expect(ttl).toBeLessThanOrEqual(5_001);
  });

  it('is there for no less than its time, and then nobody has it', async () => {
    const [key, client, lock] = [newKey(), connect(), open()];
    await lock.acquire(newKey(), inMs(1_000)); // connected
    const expiresAt = inMs(300) + 1n;
    expect(await lock.acquire(key, expiresAt)).toBe(true);
    let heldUntil = 0;
    for (let before = Date.now(); (await client.exists(key)) === 1; before = Date.now()) heldUntil = before;
    expect(Date.now()).toBeGreaterThanOrEqual(Number(expiresAt / 1_000_000n));
    expect(heldUntil).toBeLessThan(Number(expiresAt / 1_000_000n) + 250);
  });

  it('is refused, and nothing is written, for a time that has passed', async () => {
    const [client, lock] = [connect(), open()];
    for (const passed of [inMs(-1), inMs(-60_000), 1n, 0n, -1n, -(2n ** 70n)]) {
      const key = newKey();
      expect(await lock.acquire(key, passed)).toBe(false);
      expect(await client.exists(key)).toBe(0);
    }
  });

  it('has times of 19 and of 20 digits', async () => {
    const [client, lock] = [connect(), open()];
    // In the year 2286 nanoseconds get a 20th digit, in 2554 they leave 64 bits
    for (const far of [9_999_999_999_999_999_999n, 10_000_000_000_000_000_000n, 18_446_744_073_709_551_615n]) {
      const key = newKey();
      expect(await lock.acquire(key, far)).toBe(true);
      expect(await client.get(key)).toBe(String(far));
      expect(await lock.acquire(key, far)).toBe(false);
    }
    const key = newKey();
    await client.set(key, '10000000000000000000'); // as text, this is before now
    expect(await lock.acquire(key, inMs(1_000))).toBe(false);
    await client.set(key, '999999999999999999'); // and this, in 2001, after
    expect(await lock.acquire(key, inMs(1_000))).toBe(true);
  });

  it('differs by nanoseconds', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    try {
      const [client, lock, key] = [connect(), open(), newKey()];
      await client.set(key, String(inMs(0)));
      expect(await lock.acquire(key, inMs(1_000))).toBe(false); // at its very time it is held
      await client.set(key, String(inMs(0) - 1n));
      expect(await lock.acquire(key, inMs(1_000))).toBe(true);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe.skipIf(redis === undefined)('a lock that a Go program has', () => {
  it('is respected', async () => {
    const [key, client] = [newKey(), connect()];
    const value = String(inMs(60_000));
    expect(await client.set(key, value, 'PX', 60_000, 'NX')).toBe('OK');
    expect(await open().acquire(key, inMs(120_000))).toBe(false);
    expect(await client.get(key)).toBe(value);
    expect(await client.pttl(key)).toBeLessThanOrEqual(60_000);
  });

  it('is taken over by one of many when its time has passed, though its key is still there', async () => {
    const [key, client] = [newKey(), connect()];
    await client.set(key, String(inMs(-1)), 'PX', 60_000);
    const expiresAt = inMs(30_000);
    const answers = await Promise.all(Array.from({ length: 20 }, () => open().acquire(key, expiresAt)));
    expect(answers.filter((taken) => taken)).toHaveLength(1);
    expect(await client.get(key)).toBe(String(expiresAt));
    expect(await client.pttl(key)).toBeLessThanOrEqual(30_001);
  });

  it('is taken over when its time has passed, and the key has no expiry (as after GETSET)', async () => {
    const [key, client] = [newKey(), connect()];
    await client.set(key, String(inMs(-1)));
    expect(await open().acquire(key, inMs(30_000))).toBe(true);
    expect(await client.pttl(key)).toBeGreaterThan(0);
  });

  it('is respected when the key has no expiry, until its time has passed', async () => {
    const [key, client, lock] = [newKey(), connect(), open()];
    const value = inMs(200);
    await client.set(key, String(value));
    expect(await lock.acquire(key, inMs(30_000))).toBe(false);
    await sleep(Number(value / 1_000_000n) - Date.now() + 5);
    expect(await lock.acquire(key, inMs(30_000))).toBe(true);
  });

  it('keeps it from Go, which sets what is not there, or compares', async () => {
    const [key, client] = [newKey(), connect()];
    const expiresAt = inMs(30_000);
    expect(await open().acquire(key, expiresAt)).toBe(true);
    expect(await client.set(key, String(inMs(60_000)), 'PX', 60_000, 'NX')).toBe(null);
    expect(BigInt((await client.get(key)) as string)).toBe(expiresAt);
  });
});

describe.skipIf(redis === undefined)('a key that is no lock', () => {
  it.each(['', 'text', '12.5', '-1', '0x10', ' 1', '1\n', '1e18'])('is named, and stays: %j', async (value) => {
    const [key, client] = [newKey(), connect()];
    await client.set(key, value);
    await expect(open().acquire(key, inMs(1_000))).rejects.toMatchObject(
      rejection(
        'BACKEND_FAILED',
        `The key ${key} holds \`${value}\`, which is no lock: a lock holds its expiry in Unix nanoseconds`,
      ),
    );
    expect(await client.get(key)).toBe(value);
  });

  it('is named, and stays: a list', async () => {
    const [key, client] = [newKey(), connect()];
    await client.rpush(key, 'element');
    await expect(open().acquire(key, inMs(1_000))).rejects.toMatchObject(
      rejection('BACKEND_FAILED', expect.stringMatching(/take the lock machinery_lock_program.*WRONGTYPE/)),
    );
    expect(await client.lrange(key, 0, -1)).toEqual(['element']);
  });
});

describe.skipIf(redis === undefined)('Redis', { timeout: 20_000 }, () => {
  it('that is away makes it reject soon, and that is back serves it again', async () => {
    const port = await freePort();
    const lock = open({ url: `redis://secret@127.0.0.1:${port}` });
    const from = performance.now();
    const error = await lock.acquire(newKey(), inMs(60_000)).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject(
      rejection('BACKEND_UNAVAILABLE', expect.stringMatching(/^Redis could not take the lock machinery_lock_/)),
    );
    expect((error as Error).message).not.toContain('secret');
    expect(performance.now() - from).toBeLessThan(2_000);
    const server = await startRedis({ port, settings: ['--requirepass', 'secret'] });
    const key = newKey();
    await vi.waitFor(async () => expect(await lock.acquire(key, inMs(60_000))).toBe(true), 5_000);
    await server?.kill();
    await expect(lock.acquire(key, inMs(60_000))).rejects.toMatchObject(rejection('BACKEND_UNAVAILABLE'));
    await server?.start(); // has forgotten its scripts
    await vi.waitFor(async () => expect(await lock.acquire(key, inMs(60_000))).toBe(true), 5_000);
    await lock.close();
    await server?.stop();
  });

  it('that does not answer makes it reject after `commandTimeoutMs`', async () => {
    const server = await startRedis();
    const lock = open({ url: server?.url as string, commandTimeoutMs: 200 });
    await lock.acquire(newKey(), inMs(60_000));
    await server?.kill('SIGSTOP');
    await expect(lock.acquire(newKey(), inMs(60_000))).rejects.toMatchObject(rejection('BACKEND_UNAVAILABLE'));
    await server?.kill('SIGCONT');
    await lock.close();
    await server?.stop();
  });

  it('that gives no right to write makes it fail for good', async () => {
    const reader = ['--user', 'reader', 'on', '>word', '~*', '+@all', '-set'];
    const server = await startRedis({ settings: reader });
    const lock = open({ url: `redis://reader:word@127.0.0.1:${server?.port}` });
    await expect(lock.acquire(newKey(), inMs(60_000))).rejects.toMatchObject(rejection('BACKEND_FAILED'));
    await lock.close();
    await server?.stop();
  });
});

describe.skipIf(redis === undefined)('close', () => {
  it('makes later calls reject, lets those end that are on their way, and may be called twice', async () => {
    const lock = open();
    await lock.acquire(newKey(), inMs(1_000));
    const last = lock.acquire(newKey(), inMs(60_000));
    await Promise.all([lock.close(), lock.close()]);
    expect(await last).toBe(true);
    await lock.close();
    const closed = rejection('CLOSED', 'The Redis lock is closed');
    await expect(lock.acquire(newKey(), inMs(60_000))).rejects.toMatchObject(closed);
    await expect(lock.acquire(newKey(), inMs(-1))).rejects.toMatchObject(closed);
  });

  it('leaves a client that was given, and locks that are held, as they are', async () => {
    const [given, key] = [connect(), newKey()];
    const lock = open({ client: given });
    expect(await lock.acquire(key, inMs(60_000))).toBe(true);
    await lock.close();
    expect(given.status).toBe('wait');
    expect(await given.exists(key)).toBe(1);
    expect(await open().acquire(key, inMs(60_000))).toBe(false);
  });
});

describe.skipIf(redis === undefined)('in a Cluster', { timeout: 30_000 }, () => {
  it('each key has one holder', async () => {
    const cluster = await startRedisCluster();
    const locks = [1, 2, 3].map(() => open({ url: cluster?.url as string }));
    const expiresAt = inMs(60_000);
    for (let i = 0; i < 20; i++) {
      const key = newKey();
      const answers = await Promise.all(locks.map((lock) => lock.acquire(key, expiresAt)));
      expect(answers.filter((taken) => taken)).toHaveLength(1);
    }
    await Promise.all(locks.map((lock) => lock.close()));
    await cluster?.stop();
  });
});

describe.skipIf(redis === undefined)('two schedulers', () => {
  it('send each tick once', { timeout: 20_000 }, async () => {
    const programName = newKey();
    const sent: { by: number; uuid: string; atMs: number }[] = [];
    const servers = [0, 1].map((by) => {
      const broker = new MemoryBroker();
      const publish = broker.publish.bind(broker);
      vi.spyOn(broker, 'publish').mockImplementation((messages) => {
        for (const { body } of messages)
          sent.push({ by, uuid: decodeSignature(body).uuid as string, atMs: Date.now() });
        return publish(messages);
      });
      const options = { broker, backend: new MemoryBackend(), lock: new RedisLock({ url }), programName };
      return new Server({ ...options, logger: silentLogger });
    });
    // Ticks are whole seconds: from the middle of one to the middle of another
    await sleep(1_500 - (Date.now() % 1_000));
    const from = Math.floor(Date.now() / 1_000);
    const tick = defineTask('tick');
    for (const server of servers) server.registerPeriodicTask('@every 1s', 'tick', tick());
    await sleep((from + 5.5) * 1_000 - Date.now());
    for (const server of servers) await server.close();
    expect(sent.map(({ atMs }) => Math.floor(atMs / 1_000) - from)).toEqual([1, 2, 3, 4, 5]);
    expect(new Set(sent.map(({ uuid }) => uuid)).size).toBe(5);
  });
});
