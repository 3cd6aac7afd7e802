// What the tests of this folder share: a server whose clock the test moves, and a lock that says what it was asked.

import { contractVersion } from '../../src/contract-version.ts';
import type { Lock } from '../../src/lock.ts';
import type { ServerOptions } from '../../src/server.ts';
import type { Signature } from '../../src/signature.ts';
import { TestClock } from '../../src/testing/test-clock.ts';
import { Journal } from '../worker/journal.ts';
import { type TestServer, testServer } from '../worker/test-server.ts';

/** A Saturday, 56.75 s before the first tick of `* * * * *`. */
export const startAt = '2026-11-21T08:07:03.250Z';
export const ms = (text: string) => Date.parse(text);

/** A lock in this process: the register may be shared, the time is the holder's own. */
export class MapLock implements Lock {
  readonly contractVersion = contractVersion;
  readonly name = 'MapLock';
  readonly asked = new Journal<readonly [key: string, expiresAtNs: bigint]>();
  closed = 0;
  /** May fail or delay a call. */
  onAcquire: (next: () => boolean) => Promise<boolean> = async (next) => next();
  readonly #now: () => number;
  readonly #expiries: Map<string, bigint>;

  constructor(now: () => number, expiries = new Map<string, bigint>()) {
    this.#now = now;
    this.#expiries = expiries;
  }

  acquire(key: string, expiresAtNs: bigint): Promise<boolean> {
    this.asked.add([key, expiresAtNs]);
    return this.onAcquire(() => {
      const heldUntilNs = this.#expiries.get(key);
      if (heldUntilNs !== undefined && BigInt(this.#now()) * 1_000_000n <= heldUntilNs) return false;
      this.#expiries.set(key, expiresAtNs);
      return true;
    });
  }

  async close(): Promise<void> {
    this.closed++;
  }
}

export interface Scheduler extends TestServer {
  readonly clock: TestClock;
  readonly lock: MapLock;
  /** Moves to the next alarm, and waits until what was due is sent. Answers the time. */
  tick(): Promise<string>;
  /** What was published since the last call. */
  sent(): Signature[];
  /** The time of the clock. */
  now(): string;
}

/** `from`: the first time of its clock. */
export function scheduler(options: Partial<ServerOptions> = {}, from = startAt): Scheduler {
  const clock = new TestClock(ms(from));
  const lock = new MapLock(() => clock.now());
  const server = { clock, lock, programName: 'billing', ...options };
  const test = testServer({ clock, server });
  const now = () => new Date(clock.now()).toISOString();
  let seen = 0;
  return {
    ...test,
    clock,
    lock,
    now,
    async tick() {
      clock.ringNext(Number.MAX_SAFE_INTEGER);
      await test.server.periodic.settled();
      return now();
    },
    sent() {
      const items = test.broker.published.items.slice(seen);
      seen += items.length;
      return items;
    },
  };
}

/** The UUIDs of a signature and of everything in it. */
export function uuidsIn({ uuid, onSuccess = [], onError = [], chordCallback }: Signature): (string | undefined)[] {
  const nested = [...onSuccess, ...onError, ...(chordCallback === undefined ? [] : [chordCallback])];
  return [uuid, ...nested.flatMap(uuidsIn)];
}
