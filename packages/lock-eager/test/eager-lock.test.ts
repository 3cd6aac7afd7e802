// The eager lock: taking, expiry, arguments, options, closing and sweeping.

import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Server } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { EagerLock } from '../src/index.ts';
import { inMs } from './times.ts';

let lock: EagerLock;
beforeEach(() => {
  lock = new EagerLock();
});
afterEach(async () => {
  await lock.close();
  vi.useRealTimers();
});

describe('options', () => {
  it('are checked', () => {
    for (const retries of [-1, 1.5, '3', null, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => new EagerLock({ retries } as never)).toThrowError(
        /^EagerLock: expected `retries` to be an integer >= 0/,
      );
    for (const retryIntervalMs of [-1, 0.5, 2 ** 31, '5'])
      expect(() => new EagerLock({ retryIntervalMs } as never)).toThrowError(/^EagerLock: expected `retryIntervalMs`/);
    expect(() => new EagerLock({ interval: 5 } as never)).toThrowError(/unknown option `interval`/);
    expect(() => new EagerLock(null as never)).toThrowError(/expected its options to be an object/);
  });

  it('may be left out, and be the least and the most that they can', () => {
    new EagerLock({});
    new EagerLock({ retries: 0, retryIntervalMs: 0 });
    new EagerLock({ retries: Number.MAX_SAFE_INTEGER, retryIntervalMs: 2 ** 31 - 1 });
  });
});

describe('a key', () => {
  it('is given to one of 1,000 that ask at once', async () => {
    const answers = await Promise.all(Array.from({ length: 1_000 }, () => lock.acquire('key', inMs(60_000))));
    expect(answers.filter((taken) => taken)).toHaveLength(1);
  });

  it('is held at its very time, and free when the clock has passed it', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_700_000_000_000 });
    await lock.acquire('on the millisecond', 1_700_000_001_000_000_000n);
    await lock.acquire('a nanosecond more', 1_700_000_001_000_000_001n);
    await lock.acquire('a nanosecond less', 1_700_000_000_999_999_999n);
    vi.setSystemTime(1_700_000_001_000);
    expect(await lock.acquire('on the millisecond', inMs(1))).toBe(false);
    expect(await lock.acquire('a nanosecond more', inMs(1))).toBe(false);
    expect(await lock.acquire('a nanosecond less', inMs(1))).toBe(true);
    vi.setSystemTime(1_700_000_001_001);
    expect(await lock.acquire('on the millisecond', inMs(1))).toBe(true);
    expect(await lock.acquire('a nanosecond more', inMs(1))).toBe(true);
  });

  it('is taken by a time that has passed, as in Go, for no time at all', async () => {
    expect(await lock.acquire('key', inMs(-1))).toBe(true);
    expect(await lock.acquire('key', 0n)).toBe(true);
    expect(await lock.acquire('key', inMs(60_000))).toBe(true);
  });

  it('of one lock says nothing about another lock', async () => {
    expect(await lock.acquire('key', inMs(60_000))).toBe(true);
    expect(await new EagerLock().acquire('key', inMs(60_000))).toBe(true);
  });

  it('is kept by no timer', async () => {
    vi.useFakeTimers();
    await lock.acquire('key', inMs(60_000));
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('wrong arguments', () => {
  const rejected = (message: string) => ({ code: 'ERR_MACHINERY_INVALID_ARGUMENT', message });

  it.each([
    ['', "''"],
    [undefined, 'undefined'],
    [5, '5'],
    [{ a: 1 }, '{ a: 1 }'],
  ])('are named: the key %j', async (key, shown) => {
    const error = rejected(`EagerLock: expected \`key\` to be a string that is not empty, got ${shown}`);
    await expect(lock.acquire(key as never, inMs(1))).rejects.toMatchObject(error);
    await expect(lock.acquireWithRetries(key as never, inMs(1))).rejects.toMatchObject(error);
  });

  it.each([
    [1_700_000_000_000, '1700000000000'],
    ['1', "'1'"],
    [null, 'null'],
  ])('are named: the expiry %j', async (expiresAtNs, shown) => {
    const error = rejected(`EagerLock: expected \`expiresAtNs\` to be a bigint, got ${shown}`);
    await expect(lock.acquire('key', expiresAtNs as never)).rejects.toMatchObject(error);
    await expect(lock.acquireWithRetries('key', expiresAtNs as never)).rejects.toMatchObject(error);
    expect(await lock.acquire('key', inMs(60_000))).toBe(true);
  });

  it('are named: the signal', async () => {
    const error = rejected('EagerLock: expected `signal` to be an AbortSignal, got {}');
    await expect(lock.acquireWithRetries('key', inMs(1), {} as never)).rejects.toMatchObject(error);
  });
});

describe('close', () => {
  const closed = {
    code: 'ERR_MACHINERY_CLOSED',
    message: 'The eager lock is closed: servers that share one are closed together',
  };

  it('makes later calls reject, and may be called twice', async () => {
    await Promise.all([lock.close(), lock.close()]);
    await lock.close();
    await expect(lock.acquire('key', inMs(1))).rejects.toMatchObject(closed);
    await expect(lock.acquireWithRetries('key', inMs(1))).rejects.toMatchObject(closed);
  });

  it('is called by a server, also for those who share the lock', async () => {
    const [one, other] = [1, 2].map(
      () => new Server({ broker: new MemoryBroker(), backend: new MemoryBackend(), lock }),
    );
    expect(await other?.lock?.acquire('key', inMs(60_000))).toBe(true);
    expect(await one?.lock?.acquire('key', inMs(60_000))).toBe(false);
    await one?.close();
    await expect(other?.lock?.acquire('key', inMs(60_000))).rejects.toMatchObject(closed);
    await other?.close();
  });
});

describe('memory', () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage: () => void = runInNewContext('gc');
  const usedMb = () => {
    collectGarbage();
    return process.memoryUsage().heapUsed / 1e6;
  };

  /** Takes 20,000 keys of 10,000 bytes: 200 MB in all. From a buffer, because V8 would share what repeated strings have in common. */
  async function takeMany(expiresInMs: number) {
    for (let i = 0; i < 20_000; i++)
      await lock.acquire(Buffer.alloc(10_000, `${i} `).toString('latin1'), inMs(expiresInMs));
  }

  it('is freed of keys whose time has passed', async () => {
    const before = usedMb();
    await takeMany(-1);
    expect(usedMb() - before).toBeLessThan(50);
  });

  it('is freed of all keys by close', async () => {
    const before = usedMb();
    await takeMany(60_000);
    expect(usedMb() - before).toBeGreaterThan(150);
    await lock.close();
    expect(usedMb() - before).toBeLessThan(50);
  });

  it('is freed of waits that have ended', async () => {
    const impatient = new EagerLock({ retries: 1, retryIntervalMs: 1 });
    await impatient.acquire('key', inMs(60_000));
    const wait = async () => {
      const { signal } = new AbortController();
      await impatient.acquireWithRetries('key', inMs(60_000), signal);
      return new WeakRef(signal);
    };
    const signal = await wait();
    await turn(); // a WeakRef holds what it was made of until the end of that turn
    collectGarbage();
    expect(signal.deref()).toBeUndefined();
    await impatient.close();
  });

  it('keeps what is held, however many keys come and go', async () => {
    const held = Array.from({ length: 3_000 }, (_, i) => `held ${i}`);
    for (const [i, key] of held.entries()) {
      expect(await lock.acquire(key, inMs(60_000))).toBe(true);
      for (let j = 0; j < 5; j++) await lock.acquire(`passing ${i} ${j}`, inMs(-1));
    }
    for (const key of held) expect(await lock.acquire(key, inMs(60_000))).toBe(false);
  });
});
