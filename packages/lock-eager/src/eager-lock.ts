// The lock of one process: a register of keys and the times until which they are held. Every try is synchronous, which is
// what gives a key to one of all that ask at once.
// Invariant: a key is taken over only when the clock has passed its time. Date.now() cuts off what is less than a
// millisecond, so the clock is never ahead.

import { inspect } from 'node:util';
import {
  type ContractVersion,
  checkOptions,
  contractVersion,
  integerOption,
  type Lock,
  MachineryError,
  optionalOption,
  stringOption,
} from '@machinery/core';

/** How often, and how fast, `acquireWithRetries` tries again. */
export interface EagerLockOptions {
  /** Tries after the first. Default: 3. */
  readonly retries?: number;
  /** The wait between two tries, in milliseconds. Default: 5,000. */
  readonly retryIntervalMs?: number;
}

const longestTimerMs = 2 ** 31 - 1;
/** A register smaller than this is not worth looking through. */
const leastSweepSize = 1_000;

/** A lock in memory. Each object is a register of its own: servers that shall share a lock are given the same object. */
export class EagerLock implements Lock {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/lock-eager';

  readonly #retries: number;
  readonly #retryIntervalMs: number;
  readonly #expiries = new Map<string, bigint>();
  #sweepSize = leastSweepSize;
  /** Ends each wait of `acquireWithRetries`. */
  readonly #waits = new Set<() => void>();
  #closed = false;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: EagerLockOptions = {}) {
    checkOptions('EagerLock', options, {
      retries: optionalOption(integerOption({ min: 0 })),
      retryIntervalMs: optionalOption(integerOption({ min: 0, max: longestTimerMs })),
    });
    const { retries = 3, retryIntervalMs = 5_000 } = options;
    this.#retries = retries;
    this.#retryIntervalMs = retryIntervalMs;
  }

  /**
   * One try. A time that has passed takes a key that nobody holds, for no time at all.
   * @throws MachineryError ERR_MACHINERY_INVALID_ARGUMENT, and ERR_MACHINERY_CLOSED after `close`.
   */
  async acquire(key: string, expiresAtNs: bigint): Promise<boolean> {
    if (this.#closed)
      throw new MachineryError(
        'ERR_MACHINERY_CLOSED',
        'The eager lock is closed: servers that share one are closed together',
      );
    const expected = stringOption(key);
    if (expected !== undefined) throw invalidArgument('key', expected, key);
    if (typeof expiresAtNs !== 'bigint') throw invalidArgument('expiresAtNs', 'a bigint', expiresAtNs);

    const nowNs = BigInt(Date.now()) * 1_000_000n;
    const heldUntilNs = this.#expiries.get(key);
    // Go: `time.Now().UnixNano() > timeout`, so it is still held at its very time.
    if (heldUntilNs !== undefined && nowNs <= heldUntilNs) return false;
    if (this.#expiries.size >= this.#sweepSize) this.#sweep(nowNs);
    this.#expiries.set(key, expiresAtNs);
    return true;
  }

  /**
   * Go's LockWithRetries: tries until it gets the lock, `retries` + 1 times at most, with `retryIntervalMs` in between.
   * Answers false when it never did, and at once when `signal` aborts or the lock is closed while it waits.
   * @throws MachineryError as `acquire` does.
   */
  async acquireWithRetries(key: string, expiresAtNs: bigint, signal?: AbortSignal): Promise<boolean> {
    if (signal !== undefined && !(signal instanceof AbortSignal))
      throw invalidArgument('signal', 'an AbortSignal', signal);
    for (let retriesLeft = this.#retries; ; retriesLeft--) {
      if (signal?.aborted) return false;
      if (await this.acquire(key, expiresAtNs)) return true;
      // Go waits after the last try, too, and then gives up all the same.
      if (retriesLeft === 0) return false;
      await this.#wait(signal);
      if (this.#closed) return false;
    }
  }

  /** Forgets everything, and ends the waits of `acquireWithRetries`. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#expiries.clear();
    for (const end of this.#waits) end();
  }

  /** Looking through the whole register only when it has doubled makes it cost nothing that one would notice. */
  #sweep(nowNs: bigint): void {
    for (const [key, heldUntilNs] of this.#expiries) if (nowNs > heldUntilNs) this.#expiries.delete(key);
    this.#sweepSize = Math.max(leastSweepSize, 2 * this.#expiries.size);
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      if (this.#closed || signal?.aborted) return resolve();
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', end);
        this.#waits.delete(end);
        resolve();
      };
      const timer = setTimeout(end, this.#retryIntervalMs);
      signal?.addEventListener('abort', end);
      this.#waits.add(end);
    });
  }
}

function invalidArgument(name: string, expected: string, value: unknown): MachineryError {
  const message = `EagerLock: expected \`${name}\` to be ${expected}, got ${inspect(value, { depth: 0 })}`;
  return new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', message);
}
