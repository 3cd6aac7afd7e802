// Where the memory backend keeps states and groups: a map whose entries expire by a clock.
// Invariant: the sweep's timer exists exactly while there are entries.

import type { Clock } from '../clock.ts';

export interface Entry<V> {
  value: V;
  expiresAtMs: number;
}

const sweepIntervalMs = 1_000;

/**
 * A map whose entries expire: checked on each `get`, and swept so that what nobody reads is freed too. Each second a
 * sixtieth of the entries is looked at, so that no sweep blocks and writing costs nothing for it.
 */
export class ExpiringMap<V> {
  readonly #entries = new Map<string, Entry<V>>();
  readonly #clock: Clock;
  #cursor: MapIterator<[string, Entry<V>]> | undefined;
  /** Exists only while there are entries, and does not keep the process alive. */
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get(key: string, now: number): Entry<V> | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.expiresAtMs > now) return entry;
    this.delete(key);
    return undefined;
  }

  set(key: string, value: V, expiresAtMs: number): void {
    this.#entries.set(key, { value, expiresAtMs });
    this.#timer ??= setInterval(this.#sweep, sweepIntervalMs).unref();
  }

  delete(key: string): void {
    this.#entries.delete(key);
    this.#stopIfEmpty();
  }

  clear(): void {
    this.#entries.clear();
    this.#stopIfEmpty();
  }

  readonly #sweep = (): void => {
    const now = this.#clock.now();
    let count = Math.max(1_000, Math.ceil(this.#entries.size / 60));
    this.#cursor ??= this.#entries.entries();
    for (; count > 0; count--) {
      const { value: next, done } = this.#cursor.next();
      if (done) {
        this.#cursor = undefined;
        break;
      }
      const [key, entry] = next;
      if (entry.expiresAtMs <= now) this.#entries.delete(key);
    }
    this.#stopIfEmpty();
  };

  #stopIfEmpty(): void {
    if (this.#entries.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#cursor = undefined;
  }
}
