// The suite of a lock: the executable form of core's `Lock` contract. Times are compared with this machine's clock, so the
// server should run on it.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { contractVersion, type Lock } from '@machinery/core';
import { bounded } from '../backend/backend-under-test.ts';
import { withOpened } from '../opened.ts';
import { type Runner, within } from '../runner.ts';
import type { LockUnderTest } from './lock-under-test.ts';

const acquirers = 50;
const rounds = 20;
/** How late a lock may end for what it takes to ask a server: less than what a clock of whole seconds would make of it. */
const lateMs = 250;

const newKey = (): string => `machinery_lock_${randomUUID()}`;

/** Unix nanoseconds of a time so many milliseconds from now, none of whose digits is round. */
const inMs = (ms: number): bigint => BigInt(Date.now() + ms) * 1_000_000n + 123_457n;
const minute = 60_000;

type Open = () => Promise<Lock>;

/** Defines the cases that a lock has to pass, against a real server. Every case uses keys of its own. */
export function testLock(runner: Runner, { create, patienceMs = 10_000 }: LockUnderTest): void {
  const openBounded = async () => bounded(await create(), patienceMs);
  const it = (name: string, run: (open: Open) => Promise<void>) =>
    runner.it(name, () => withOpened(openBounded, run), 30_000 + 6 * patienceMs);

  const acquire = async (lock: Lock, key: string, expiresAtNs: bigint): Promise<boolean> => {
    const taken = await lock.acquire(key, expiresAtNs);
    assert.equal(typeof taken, 'boolean');
    return taken;
  };

  const openMany = (open: Open, count: number): Promise<Lock[]> =>
    Promise.all(Array.from({ length: count }, () => open()));

  /** Asks until it gets the lock: not before it has expired, and not long after. */
  async function takeOver(locks: readonly Lock[], key: string, expiresAtNs: bigint, nextNs: bigint): Promise<void> {
    const expiresAtMs = Number(expiresAtNs / 1_000_000n);
    for (;;) {
      const askedAt = Date.now();
      const takers = await Promise.all(locks.map((lock) => acquire(lock, key, nextNs)));
      const answeredAt = Date.now();
      const count = takers.filter((taken) => taken).length;
      assert.ok(count <= 1, `Expected one to take the lock over, ${count} did`);
      if (count === 1) {
        const earlyMs = expiresAtMs - answeredAt;
        assert.ok(earlyMs <= 0, `Expected the lock to be held until its time, it was taken ${earlyMs} ms before`);
        return;
      }
      const sinceMs = askedAt - expiresAtMs;
      assert.ok(sinceMs <= lateMs, `Expected the lock to end with its time, it was held ${sinceMs} ms after`);
      await sleep(10);
    }
  }

  runner.describe('a lock', () => {
    it('is written for this version of the contract, and has a name', async (open) => {
      const lock = await open();
      assert.equal(lock.contractVersion, contractVersion);
      assert.ok(typeof lock.name === 'string' && lock.name !== '', 'Expected a name for error messages');
    });

    it(`is taken by exactly one of ${acquirers} that ask at once, ${rounds} times`, async (open) => {
      const locks = await openMany(open, 5);
      for (let round = 0; round < rounds; round++) {
        const key = newKey();
        // Half of the rounds as schedulers do it: all with the same time.
        const same = inMs(minute);
        const takers = await Promise.all(
          Array.from({ length: acquirers }, (_, i) =>
            acquire(locks[i % 5] as Lock, key, round % 2 === 0 ? same : same + BigInt(i) * 1_000_000_007n),
          ),
        );
        const count = takers.filter((taken) => taken).length;
        assert.equal(count, 1, `Expected one of ${acquirers} to get the lock, ${count} did`);
      }
    });

    it('is held against everybody, the holder too', async (open) => {
      const [a, b] = [await open(), await open()];
      const [key, expiresAt] = [newKey(), inMs(minute)];
      assert.equal(await acquire(a, key, expiresAt), true);
      for (const lock of [a, b, a, b]) {
        assert.equal(await acquire(lock, key, expiresAt), false);
        assert.equal(await acquire(lock, key, expiresAt + 1n), false);
      }
    });

    it('of one key says nothing about another', async (open) => {
      const [a, b] = [await open(), await open()];
      const key = newKey();
      const odd = ['', '0', ' ', 'UPPER', 'upper', 'é', 'e\u0301', '☃', '\n', ':{a}:b', '*', '%s', '"', '* * * * *'];
      const keys = [...odd.map((end) => `${key}${end}`), `${key}${'x'.repeat(1_000)}`, `${key}${'x'.repeat(999)}`];
      const expiresAt = inMs(minute);
      for (const each of keys) assert.equal(await acquire(a, each, expiresAt), true, `Key ${JSON.stringify(each)}`);
      for (const each of keys) assert.equal(await acquire(b, each, expiresAt), false, `Key ${JSON.stringify(each)}`);
    });

    it('of many keys can be taken at once', async (open) => {
      const [a, b] = [await open(), await open()];
      const keys = Array.from({ length: 100 }, newKey);
      const expiresAt = inMs(minute);
      const takers = await Promise.all(keys.flatMap((key) => [acquire(a, key, expiresAt), acquire(b, key, expiresAt)]));
      keys.forEach((key, i) => {
        assert.equal(Number(takers[2 * i]) + Number(takers[2 * i + 1]), 1, `Expected one to get ${key}`);
      });
    });

    it('is held until its time, to a fraction of a second, and then taken over by exactly one', async (open) => {
      const locks = await openMany(open, 5);
      const many = Array.from({ length: acquirers }, (_, i) => locks[i % 5] as Lock);
      await Promise.all(
        [300, 550, 800, 1_150].map(async (ms) => {
          const [key, expiresAt] = [newKey(), inMs(ms)];
          assert.equal(await acquire(locks[0] as Lock, key, expiresAt), true);
          await takeOver(many, key, expiresAt, inMs(minute));
          // Whoever took it over holds it.
          for (const lock of locks) assert.equal(await acquire(lock, key, inMs(minute)), false);
        }),
      );
    });

    it('is taken over again and again, each time until the new time', async (open) => {
      const [a, b] = [await open(), await open()];
      const key = newKey();
      let expiresAt = inMs(200);
      assert.equal(await acquire(a, key, expiresAt), true);
      for (const lock of [b, a, a]) {
        const next = expiresAt + 300_000_000n;
        await takeOver([lock], key, expiresAt, next);
        expiresAt = next;
      }
    });

    it('ends with the time of its holder, whatever those who did not get it asked for', async (open) => {
      const [a, b, c] = [await open(), await open(), await open()];
      const [key, kept] = [newKey(), newKey()];
      const [soon, later] = [inMs(400), inMs(minute)];
      assert.equal(await acquire(a, key, soon), true);
      assert.equal(await acquire(a, kept, later), true);
      for (const lock of [a, b]) {
        assert.equal(await acquire(lock, key, inMs(60 * minute)), false, 'Expected the lock to be held');
        assert.equal(await acquire(lock, kept, inMs(50)), false, 'Expected the lock to be held');
      }
      await takeOver([c], key, soon, later);
      assert.equal(await acquire(c, kept, later), false, 'Expected nobody to have shortened it');
    });

    it('with a time that has passed holds nothing, and takes nothing from its holder', async (open) => {
      const [a, b] = [await open(), await open()];
      const [free, held] = [newKey(), newKey()];
      const passed = [inMs(-1_000), inMs(-60 * minute), 1n, 0n];
      assert.equal(await acquire(a, held, inMs(minute)), true);
      for (const expiresAt of passed) {
        // Whether it is taken for no time at all or refused is the adapter's to say.
        await acquire(a, free, expiresAt);
        assert.equal(await acquire(b, held, expiresAt), false);
      }
      assert.equal(await acquire(b, free, inMs(minute)), true);
      assert.equal(await acquire(a, free, inMs(minute)), false);
      assert.equal(await acquire(b, held, inMs(minute)), false);
    });

    it('can be taken for years', async (open) => {
      const [a, b] = [await open(), await open()];
      const [key, expiresAt] = [newKey(), inMs(0) + 20n * 365n * 86_400n * 1_000_000_000n];
      assert.equal(await acquire(a, key, expiresAt), true);
      assert.equal(await acquire(b, key, expiresAt), false);
    });

    it('stays held when the instance that took it is closed', async (open) => {
      const [a, b] = [await open(), await open()];
      const key = newKey();
      assert.equal(await acquire(a, key, inMs(minute)), true);
      await a.close();
      assert.equal(await acquire(b, key, inMs(minute)), false);
    });

    it('may be closed again, at once and later, used or not', async (open) => {
      const [used, unused] = [await open(), await open()];
      await acquire(used, newKey(), inMs(minute));
      for (const lock of [used, unused]) {
        await within(patienceMs, 'two calls of close', Promise.all([lock.close(), lock.close()]));
        await within(patienceMs, 'another call of close', lock.close());
      }
    });
  });
}
