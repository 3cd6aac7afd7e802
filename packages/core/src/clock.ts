// What time it is, and waking up at one. Whatever counts in wall time asks a Clock, so that tests can advance it: ETAs,
// expiry, periodic entries. How long something has taken (time limits, backoff towards a server) is measured by timers.

import { fn } from './options.ts';

/** The time, for a server and its in-memory engine. The default is the system's; `@machinery/core/testing` has one that tests advance. */
export interface Clock {
  /** Unix milliseconds. */
  now(): number;
  /**
   * Calls `callback` once, when `now()` has reached `timeMs`: never early, never before `wakeAt` has returned. It keeps the
   * process alive until then.
   */
  wakeAt(timeMs: number, callback: () => void): Alarm;
}

/** A call to come. */
export interface Alarm {
  /** It is not called any more. Safe to call twice, and after the call. */
  cancel(): void;
}

/** An option that is a Clock. */
export function clockCheck(value: unknown): string | undefined {
  const { now, wakeAt } = (value ?? {}) as Partial<Clock>;
  return (fn(now) ?? fn(wakeAt)) ? 'a clock: an object with now and wakeAt' : undefined;
}

/** The clock may be set while a timer runs, and setTimeout overflows at 2^31 ms: look again at least this often. */
const longestTimerMs = 60_000;

export const systemClock: Clock = {
  now: () => Date.now(),
  wakeAt(timeMs, callback) {
    let timer: NodeJS.Timeout;
    const wait = () => {
      timer = setTimeout(look, Math.min(Math.max(timeMs - Date.now(), 1), longestTimerMs));
    };
    // Timers may fire a little before Date.now() has got there.
    const look = () => (Date.now() >= timeMs ? callback() : wait());
    wait();
    return { cancel: () => clearTimeout(timer) };
  },
};
