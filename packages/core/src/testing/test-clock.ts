// A clock that stands still until it is moved. Invariant: `now()` never goes back, and an alarm rings at its own time.

import TinyQueue from 'tinyqueue';
import type { Alarm, Clock } from '../clock.ts';

interface TestAlarm {
  readonly timeMs: number;
  readonly order: number;
  readonly callback: () => void;
  cancelled: boolean;
}

export class TestClock implements Clock {
  #nowMs: number;
  readonly #alarms = new TinyQueue<TestAlarm>([], (a, b) => a.timeMs - b.timeMs || a.order - b.order);
  #order = 0;

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  wakeAt(timeMs: number, callback: () => void): Alarm {
    const alarm: TestAlarm = { timeMs, order: this.#order++, callback, cancelled: false };
    this.#alarms.push(alarm);
    return {
      cancel: () => {
        alarm.cancelled = true;
      },
    };
  }

  /** Moves to the next alarm that is due by `timeMs` and rings it; where there is none, moves to `timeMs` and answers false. */
  ringNext(timeMs: number): boolean {
    for (;;) {
      const alarm = this.#alarms.peek();
      if (alarm === undefined || alarm.timeMs > timeMs) {
        this.#nowMs = Math.max(this.#nowMs, timeMs);
        return false;
      }
      this.#alarms.pop();
      if (alarm.cancelled) continue;
      this.#nowMs = Math.max(this.#nowMs, alarm.timeMs);
      alarm.callback();
      return true;
    }
  }
}
