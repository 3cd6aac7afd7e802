// acquireWithRetries of the eager lock. Timers are faked, so that tries can be counted without waiting for them.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { EagerLock, type EagerLockOptions } from '../src/index.ts';
import { inMs } from './times.ts';

const opened: EagerLock[] = [];

/** A lock whose key is held for as many milliseconds, with a count of the tries to get it. */
async function heldFor(ms: number, options?: EagerLockOptions) {
  const lock = new EagerLock(options);
  opened.push(lock);
  await lock.acquire('key', inMs(ms));
  return { lock, tries: vi.spyOn(lock, 'acquire') };
}

/** What a promise has come to by now. */
function watched<T>(promise: Promise<T>) {
  const now: { value?: T } = {};
  void promise.then((value) => {
    now.value = value;
  });
  return now;
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(opened.splice(0).map((lock) => lock.close()));
});

describe('the tries', () => {
  it('are one when nobody holds the key', async () => {
    const { lock, tries } = await heldFor(-1);
    expect(await lock.acquireWithRetries('key', inMs(60_000))).toBe(true);
    expect(tries).toHaveBeenCalledTimes(1);
    expect(await lock.acquire('key', inMs(60_000))).toBe(false);
  });

  it('are four, five seconds apart, when nothing else was said, without a wait after the last', async () => {
    const { lock, tries } = await heldFor(60_000);
    const answer = watched(lock.acquireWithRetries('key', inMs(120_000)));
    await vi.advanceTimersByTimeAsync(4_999);
    expect(tries).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(tries).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(9_999);
    expect([tries.mock.calls.length, answer]).toEqual([3, {}]);
    await vi.advanceTimersByTimeAsync(1);
    expect([tries.mock.calls.length, answer]).toEqual([4, { value: false }]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('are as many and as far apart as the options say', async () => {
    const { lock, tries } = await heldFor(60_000, { retries: 2, retryIntervalMs: 30 });
    const answer = watched(lock.acquireWithRetries('key', inMs(120_000)));
    await vi.advanceTimersByTimeAsync(59);
    expect([tries.mock.calls.length, answer]).toEqual([2, {}]);
    await vi.advanceTimersByTimeAsync(1);
    expect([tries.mock.calls.length, answer]).toEqual([3, { value: false }]);
  });

  it('are one when there are no retries', async () => {
    const { lock, tries } = await heldFor(60_000, { retries: 0 });
    expect(await lock.acquireWithRetries('key', inMs(60_000))).toBe(false);
    expect(tries).toHaveBeenCalledTimes(1);
  });

  it('end with the one that gets it, and of all that wait one does', async () => {
    const { lock, tries } = await heldFor(45, { retries: 9, retryIntervalMs: 10 });
    const answers = Array.from({ length: 20 }, () => watched(lock.acquireWithRetries('key', inMs(60_000))));
    await vi.advanceTimersByTimeAsync(40);
    expect(answers).toEqual(Array(20).fill({}));
    await vi.advanceTimersByTimeAsync(50);
    expect(answers.map(({ value }) => value).sort()).toEqual([...Array(19).fill(false), true]);
    expect(tries).toHaveBeenCalledTimes(6 + 19 * 10);
  });
});

describe('the wait', () => {
  it('passes in real time, too', async () => {
    vi.useRealTimers();
    const before = Date.now();
    const { lock } = await heldFor(50, { retries: 1_000, retryIntervalMs: 10 });
    expect(await lock.acquireWithRetries('key', inMs(60_000))).toBe(true);
    expect(Date.now() - before).toBeGreaterThan(50);
  });

  const days = { retries: 1_000, retryIntervalMs: 86_400_000 };

  it('ends when the signal aborts, and leaves no timer and no listener', async () => {
    const { lock, tries } = await heldFor(60_000, days);
    const controller = new AbortController();
    const [added, removed] = (['addEventListener', 'removeEventListener'] as const).map((name) =>
      vi.spyOn(controller.signal, name),
    );
    const answer = lock.acquireWithRetries('key', inMs(60_000), controller.signal);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(vi.getTimerCount()).toBe(1);
    controller.abort();
    expect(await answer).toBe(false);
    expect(tries).toHaveBeenCalledTimes(1);
    expect(vi.getTimerCount()).toBe(0);
    expect(removed?.mock.calls).toEqual(added?.mock.calls);
  });

  it('does not begin, and no key is taken, when the signal has aborted before', async () => {
    const { lock, tries } = await heldFor(-1, days);
    expect(await lock.acquireWithRetries('key', inMs(60_000), AbortSignal.abort())).toBe(false);
    expect(tries).not.toHaveBeenCalled();
  });

  it('does not begin when the signal aborts, or the lock is closed, during a try', async () => {
    const controller = new AbortController();
    const { lock } = await heldFor(60_000, days);
    const aborted = lock.acquireWithRetries('key', inMs(60_000), controller.signal);
    controller.abort();
    expect(await aborted).toBe(false);
    const closed = lock.acquireWithRetries('key', inMs(60_000));
    await lock.close();
    expect(await closed).toBe(false);
  });

  it('ends for everybody when the lock is closed, and leaves no timer', async () => {
    const { lock } = await heldFor(60_000, days);
    const answers = Array.from({ length: 5 }, () => lock.acquireWithRetries('key', inMs(60_000)));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(vi.getTimerCount()).toBe(5);
    await lock.close();
    expect(await Promise.all(answers)).toEqual(Array(5).fill(false));
    expect(vi.getTimerCount()).toBe(0);
  });
});
