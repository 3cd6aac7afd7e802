// The two clocks: the system's, which wakes by timers that overflow and fire early, and the one that tests move.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { Server } from '../../src/index.ts';
import { MemoryBackend, MemoryBroker } from '../../src/memory/index.ts';
import { TestClock } from '../../src/testing/test-clock.ts';
import { errorLike, nextTurn, thrownBy } from '../server/setup.ts';

describe('the system clock', () => {
  it('says the time of the system', () => {
    const before = Date.now();
    const now = systemClock.now();
    expect(now).toBeGreaterThanOrEqual(before);
    expect(now).toBeLessThanOrEqual(Date.now());
  });

  it('wakes once when the time has come, never early', async () => {
    const early: number[] = [];
    await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const dueAtMs = Date.now() + (i % 50);
        await new Promise<void>((resolve) => systemClock.wakeAt(dueAtMs, resolve));
        if (Date.now() < dueAtMs) early.push(Date.now() - dueAtMs);
      }),
    );
    expect(early).toEqual([]);
  });

  it.each([0, -1, -(2 ** 40)])(
    'wakes for a time that is %s ms from now, but not before wakeAt has returned',
    async (ms) => {
      let returned = false;
      const sawReturned = await new Promise<boolean>((resolve) => {
        systemClock.wakeAt(Date.now() + ms, () => resolve(returned));
        returned = true;
      });
      expect(sawReturned).toBe(true);
    },
  );

  it('does not wake after cancel, which may be called twice and late', async () => {
    let woken = 0;
    const alarm = systemClock.wakeAt(Date.now() + 1, () => woken++);
    alarm.cancel();
    alarm.cancel();
    await new Promise<void>((resolve) => {
      const other = systemClock.wakeAt(Date.now() + 10, () => {
        other.cancel();
        resolve();
      });
    });
    await nextTurn();
    expect(woken).toBe(0);
  });
});

describe('the system clock, as its timers and the time go their ways,', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: 1_000_000 });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('wakes at the very millisecond', () => {
    const woken = vi.fn();
    systemClock.wakeAt(Date.now() + 61_500, woken);
    vi.advanceTimersByTime(61_499);
    expect(woken).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(woken).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(1_000_000);
    expect(woken).toHaveBeenCalledTimes(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it.each([2 ** 31, 2 ** 32 + 5, 2 ** 40])('waits for what is %s ms away', (ms) => {
    const woken = vi.fn();
    const setTimeoutSpy = vi.spyOn(globalThis, 'setTimeout');
    const dueAtMs = Date.now() + ms;
    systemClock.wakeAt(dueAtMs, woken);
    vi.advanceTimersByTime(10 * 60_000);
    expect(woken).not.toHaveBeenCalled();
    expect(Math.max(...setTimeoutSpy.mock.calls.map(([, delay]) => delay as number))).toBeLessThan(2 ** 31);
    vi.setSystemTime(dueAtMs - 30_000);
    vi.advanceTimersByTime(90_000);
    expect(woken).toHaveBeenCalledTimes(1);
  });

  it('goes on waiting when a timer fires early', () => {
    const woken = vi.fn();
    const dueAtMs = Date.now() + 500;
    systemClock.wakeAt(dueAtMs, woken);
    vi.setSystemTime(Date.now() - 2);
    vi.advanceTimersByTime(500);
    expect(woken).not.toHaveBeenCalled();
    vi.advanceTimersByTime(2);
    expect(Date.now()).toBe(dueAtMs);
    expect(woken).toHaveBeenCalledTimes(1);
  });

  it('sees within a minute that the time was set forward', () => {
    const woken = vi.fn();
    systemClock.wakeAt(Date.now() + 3_600_000, woken);
    vi.setSystemTime(Date.now() + 7_200_000);
    vi.advanceTimersByTime(60_000);
    expect(woken).toHaveBeenCalledTimes(1);
  });

  it('waits until the time is there when it was set back', () => {
    const woken = vi.fn();
    const dueAtMs = Date.now() + 1_000;
    systemClock.wakeAt(dueAtMs, woken);
    vi.setSystemTime(Date.now() - 3_600_000);
    vi.advanceTimersByTime(3_600_999);
    expect(woken).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(woken).toHaveBeenCalledTimes(1);
  });

  it('keeps no timer after cancel, however long it has waited', () => {
    const woken = vi.fn();
    const alarm = systemClock.wakeAt(Date.now() + 2 ** 40, woken);
    vi.advanceTimersByTime(5 * 60_000 + 1);
    expect(vi.getTimerCount()).toBe(1);
    alarm.cancel();
    expect(vi.getTimerCount()).toBe(0);
    vi.advanceTimersByTime(2 ** 20);
    expect(woken).not.toHaveBeenCalled();
  });
});

describe('the clock of tests', () => {
  const clockAt = (nowMs: number) => {
    const clock = new TestClock(nowMs);
    const rung: string[] = [];
    const set = (timeMs: number, name = String(timeMs)) =>
      clock.wakeAt(timeMs, () => rung.push(`${name} at ${clock.now()}`));
    return { clock, rung, set };
  };

  it('stands still until it is moved', async () => {
    const { clock, rung, set } = clockAt(1_000);
    set(1_000);
    set(0);
    await nextTurn();
    expect(clock.now()).toBe(1_000);
    expect(rung).toEqual([]);
  });

  it('rings one alarm at a time, each at its own time, in their order', () => {
    const { clock, rung, set } = clockAt(0);
    for (const time of [30, 10, 20, 40]) set(time);
    expect(clock.ringNext(30)).toBe(true);
    expect(rung).toEqual(['10 at 10']);
    expect(clock.now()).toBe(10);
    expect([clock.ringNext(30), clock.ringNext(30), clock.ringNext(30)]).toEqual([true, true, false]);
    expect(rung).toEqual(['10 at 10', '20 at 20', '30 at 30']);
    expect(clock.now()).toBe(30);
  });

  it('rings alarms of one time in the order in which they were set', () => {
    const { clock, rung, set } = clockAt(0);
    const names = Array.from({ length: 50 }, (_, i) => `alarm ${i}`);
    for (const name of names) set(5, name);
    while (clock.ringNext(5));
    expect(rung).toEqual(names.map((name) => `${name} at 5`));
  });

  it('moves to the given time when nothing is due by then, and answers false', () => {
    const { clock, rung, set } = clockAt(0);
    set(100);
    expect(clock.ringNext(99)).toBe(false);
    expect(clock.now()).toBe(99);
    expect(rung).toEqual([]);
    expect(clock.ringNext(100)).toBe(true);
    expect(clock.ringNext(1_000)).toBe(false);
    expect(clock.now()).toBe(1_000);
  });

  it('never goes back: what is overdue rings now, by any time', () => {
    const { clock, rung, set } = clockAt(1_000);
    expect(clock.ringNext(500)).toBe(false);
    expect(clock.now()).toBe(1_000);
    set(400);
    expect(clock.ringNext(300)).toBe(false);
    expect(clock.ringNext(500)).toBe(true);
    expect(rung).toEqual(['400 at 1000']);
  });

  it('rings an alarm that was set while another one rang, in its turn', () => {
    const { clock, rung, set } = clockAt(0);
    clock.wakeAt(10, () => {
      set(10, 'set at 10 for 10');
      set(5, 'set at 10 for 5');
      set(15, 'set at 10 for 15');
    });
    set(12);
    const rang = Array.from({ length: 6 }, () => clock.ringNext(20));
    expect(rang).toEqual([true, true, true, true, true, false]);
    expect(rung).toEqual(['set at 10 for 5 at 10', 'set at 10 for 10 at 10', '12 at 12', 'set at 10 for 15 at 15']);
  });

  it('leaves out what was cancelled, even by the alarm before it', () => {
    const { clock, rung, set } = clockAt(0);
    const first = set(5);
    clock.wakeAt(10, () => second.cancel());
    const second = set(10, 'second');
    set(20);
    first.cancel();
    first.cancel();
    expect(clock.ringNext(30)).toBe(true);
    expect(clock.now()).toBe(10);
    expect(clock.ringNext(30)).toBe(true);
    expect(clock.ringNext(30)).toBe(false);
    expect(rung).toEqual(['20 at 20']);
    second.cancel();
  });

  it('has rung an alarm that throws', () => {
    const { clock, rung, set } = clockAt(0);
    clock.wakeAt(1, () => {
      throw new Error('not nice');
    });
    set(2);
    expect(() => clock.ringNext(5)).toThrow('not nice');
    expect(clock.ringNext(5)).toBe(true);
    expect(rung).toEqual(['2 at 2']);
  });
});

describe('a clock that is none', () => {
  it.each([
    [null, '`null` (null)'],
    [5, '`5` (number)'],
    [{ now: Date.now }, '`{}` (object)'],
    [{ wakeAt: () => {} }, '`{}` (object)'],
    [{ now: 0, wakeAt: () => {} }, '`{"now":0}` (object)'],
  ])('is refused: %j', async (clock, shown) => {
    const text = (owner: string) =>
      `${owner}: expected \`clock\` to be a clock: an object with now and wakeAt, got ${shown}`;
    const adapters = { broker: new MemoryBroker(), backend: new MemoryBackend() };
    for (const [owner, make] of [
      ['Server', () => new Server({ ...adapters, clock: clock as never })],
      ['MemoryBroker', () => new MemoryBroker({ clock: clock as never })],
      ['MemoryBackend', () => new MemoryBackend({ clock: clock as never })],
    ] as const)
      expect(await thrownBy(make)).toEqual(errorLike('ERR_MACHINERY_INVALID_OPTION', text(owner)));
  });
});
