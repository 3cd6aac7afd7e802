// A lock in this process passes the suite, and locks that break one obligation each are found by the case that is named.

import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testLock } from '../src/lock/index.ts';
import { failuresOf } from './backend-cases.ts';
import { casesOf } from './collected-cases.ts';
import { MapLock } from './map-lock.ts';

type LockClass = new (expiries: Map<string, bigint>) => MapLock;

/** A new lock on the same keys, each time. */
function locksOf(lock: LockClass): () => MapLock {
  const expiries = new Map<string, bigint>();
  return () => new lock(expiries);
}

describe('MapLock', () => {
  testLock({ describe, it, before: beforeAll, after: afterAll }, { create: locksOf(MapLock) });
});

const second = 1_000_000_000n;

const mutants: Record<string, { by: string; fails?: RegExp; lock: LockClass }> = {
  'it reads and writes in two steps': {
    by: 'is taken by exactly one of 50',
    lock: class extends MapLock {
      override async acquire(key: string, expiresAtNs: bigint) {
        const isFree = this.expiryOf(key) <= this.nowNs();
        await turn();
        if (isFree) this.hold(key, expiresAtNs);
        return isFree;
      }
    },
  },
  'a later time takes it from its holder': {
    by: 'is taken by exactly one of 50',
    lock: class extends MapLock {
      override async acquire(key: string, expiresAtNs: bigint) {
        return (await super.acquire(key, expiresAtNs)) || this.expiryOf(key) < expiresAtNs;
      }
    },
  },
  'its holder gets it again': {
    by: 'is held against everybody, the holder too',
    lock: class extends MapLock {
      readonly #held = new Set<string>();
      override async acquire(key: string, expiresAtNs: bigint) {
        if (this.#held.has(key)) return true;
        const taken = await super.acquire(key, expiresAtNs);
        if (taken) this.#held.add(key);
        return taken;
      }
    },
  },
  'whoever is refused prolongs it': {
    by: 'ends with the time of its holder',
    lock: class extends MapLock {
      override async acquire(key: string, expiresAtNs: bigint) {
        const taken = await super.acquire(key, expiresAtNs);
        if (expiresAtNs > this.expiryOf(key)) this.hold(key, expiresAtNs);
        return taken;
      }
    },
  },
  'whoever is refused shortens it': {
    by: 'ends with the time of its holder',
    lock: class extends MapLock {
      override async acquire(key: string, expiresAtNs: bigint) {
        const taken = await super.acquire(key, expiresAtNs);
        if (expiresAtNs < this.expiryOf(key)) this.hold(key, expiresAtNs);
        return taken;
      }
    },
  },
  'times are rounded up to seconds': {
    by: 'is held until its time, to a fraction of a second',
    lock: class extends MapLock {
      protected override hold(key: string, expiresAtNs: bigint) {
        super.hold(key, (expiresAtNs / second + 1n) * second);
      }
    },
  },
  'times are cut to seconds': {
    by: 'is held until its time, to a fraction of a second',
    lock: class extends MapLock {
      protected override hold(key: string, expiresAtNs: bigint) {
        super.hold(key, (expiresAtNs / second) * second);
      }
    },
  },
  'it is taken over by several': {
    by: 'is held until its time, to a fraction of a second',
    lock: class extends MapLock {
      override async acquire(key: string, expiresAtNs: bigint) {
        const isHeld = this.expiryOf(key) > 0n;
        if (isHeld && this.expiryOf(key) <= this.nowNs()) {
          await turn();
          this.hold(key, expiresAtNs);
          return true;
        }
        return super.acquire(key, expiresAtNs);
      }
    },
  },
  'it is never taken over': {
    by: 'is taken over again and again',
    lock: class extends MapLock {
      override async acquire(key: string, expiresAtNs: bigint) {
        return this.expiryOf(key) === 0n && super.acquire(key, expiresAtNs);
      }
    },
  },
  'keys are cut': {
    by: 'of one key says nothing about another',
    lock: class extends MapLock {
      override acquire(key: string, expiresAtNs: bigint) {
        return super.acquire(key.slice(0, 250), expiresAtNs);
      }
    },
  },
  'keys are compared without case': {
    by: 'of one key says nothing about another',
    lock: class extends MapLock {
      override acquire(key: string, expiresAtNs: bigint) {
        return super.acquire(key.toLowerCase(), expiresAtNs);
      }
    },
  },
  'a time that has passed takes it': {
    by: 'with a time that has passed',
    lock: class extends MapLock {
      override async acquire(key: string, expiresAtNs: bigint) {
        if (expiresAtNs > this.nowNs()) return super.acquire(key, expiresAtNs);
        this.hold(key, expiresAtNs);
        return true;
      }
    },
  },
  'a time that has passed holds it': {
    by: 'with a time that has passed',
    lock: class extends MapLock {
      protected override hold(key: string, expiresAtNs: bigint) {
        super.hold(key, expiresAtNs > this.nowNs() ? expiresAtNs : this.nowNs() + 60n * second);
      }
    },
  },
  'milliseconds have 32 bits': {
    by: 'can be taken for years',
    lock: class extends MapLock {
      protected override hold(key: string, expiresAtNs: bigint) {
        const ms = Number(expiresAtNs / 1_000_000n) - Date.now();
        super.hold(key, this.nowNs() + BigInt(ms | 0) * 1_000_000n);
      }
    },
  },
  'closing releases it': {
    by: 'stays held when the instance that took it is closed',
    lock: class extends MapLock {
      readonly #held = new Set<string>();
      override async acquire(key: string, expiresAtNs: bigint) {
        const taken = await super.acquire(key, expiresAtNs);
        if (taken) this.#held.add(key);
        return taken;
      }
      override async close() {
        for (const key of this.#held) this.hold(key, 0n);
      }
    },
  },
  'it can be closed once': {
    by: 'may be closed again',
    fails: /close to be called once/,
    lock: class extends MapLock {
      #isClosed = false;
      override async close() {
        if (this.#isClosed) throw new Error('Expected close to be called once');
        this.#isClosed = true;
      }
    },
  },
  'it has another version': {
    by: 'is written for this version',
    lock: class extends MapLock {
      override readonly contractVersion = 2 as 1;
    },
  },
};

describe.concurrent('mutants', () => {
  it.concurrent.each(Object.entries(mutants))('%s', async (_, { by, fails = /^AssertionError/, lock }) => {
    const cases = casesOf((runner) => testLock(runner, { create: locksOf(lock), patienceMs: 500 }));
    const named = cases.filter(({ name }) => name.includes(by));
    expect(named, by).toHaveLength(1);
    expect([...(await failuresOf(named)).values()]).toEqual([expect.stringMatching(fails)]);
  });
});
