// Hundreds of tasks over a broker and a backend that fail at random calls, before or after they did what they were asked.
// Whatever happens, every task ends in its right state and nothing is left behind.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { failed, type Outcome } from '../../src/outcome.ts';
import type { Signature } from '../../src/signature.ts';
import { currentTask } from '../../src/task-context.ts';
import { isFinal } from '../../src/task-state.ts';
import { backendAway } from './faulty-backend.ts';
import { brokerAway } from './faulty-broker.ts';
import { testServer } from './test-server.ts';

/** A generator of numbers from 0 to 1: mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const headers = { 'machinery-backoff': '{"delayMs":1,"factor":1}' };

/** A task that fails `failures` times before it succeeds, with callbacks of its kind. */
function plan(random: () => number, uuid: string, depth: number, expected: Map<string, string | undefined>): Signature {
  const failures = Math.floor(random() * 4);
  const retryCount = Math.floor(random() * 4);
  const succeeds = failures <= retryCount;
  const more = depth < 3 && random() < 0.5;
  const ignored = new Map<string, string | undefined>();
  const callback = (kind: string, sent: boolean) =>
    more ? [plan(random, `${uuid}.${kind}`, depth + 1, sent ? expected : ignored)] : [];
  expected.set(uuid, succeeds ? 'SUCCESS' : 'FAILURE');
  const onSuccess = callback('s', succeeds);
  const onError = callback('e', !succeeds);
  for (const never of ignored.keys()) expected.set(never, undefined);
  return {
    uuid,
    name: 'work',
    immutable: true,
    retryCount,
    headers: { ...headers, failures: String(failures) },
    ...(onSuccess.length > 0 && { onSuccess }),
    ...(onError.length > 0 && { onError }),
  };
}

async function run(seed: number, rate: number, abort: boolean): Promise<void> {
  const test = testServer();
  const random = randomOf(seed);
  let faulty = false;
  /** Fails before or after the call. */
  const fault = async <T>(next: () => Promise<T>, error: () => Error): Promise<T> => {
    if (!faulty || random() >= rate) return next();
    if (random() < 0.5) throw error();
    await next();
    throw error();
  };
  /** Fails some items of a batch, of which some were stored. */
  const some = async (next: () => Promise<Outcome[]>, error: () => Error): Promise<Outcome[]> =>
    (await fault(next, error)).map((outcome) =>
      faulty && random() < rate / 2 ? { status: 'unknown', error: error() } : outcome,
    );
  test.broker.onPublish = async (messages, next) =>
    faulty && random() < rate / 2 ? messages.map(() => failed(brokerAway(), true)) : some(next, brokerAway);
  test.broker.onSettle = (_, next) => fault(next, brokerAway);
  // What an exchange took must not be lost by a reply that is lost: that is the broker's duty, so it only fails before.
  test.broker.onExchange = async (_, next) => {
    if (faulty && random() < rate) throw brokerAway();
    return next();
  };
  test.backend.onWrite = (_, next) => some(next, backendAway);
  test.backend.onRead = (_, next) => fault(next, backendAway);

  test.server.registerTask('work', () => {
    const context = currentTask();
    if ((context?.attempt ?? 0) <= Number(context?.signature.headers?.failures)) throw new Error('on purpose');
    return 'done';
  });
  const workers = [];
  for (let i = 0; i < 3; i++) workers.push(await test.startWorker({ concurrency: 5 }));
  const expected = new Map<string, string | undefined>();
  const signatures = Array.from({ length: 150 }, (_, i) => plan(random, `t${i}`, 0, expected));
  for (const signature of signatures) await test.server.send(signature);
  faulty = true;
  if (abort) {
    // One of the workers is told to stop at once in the middle of it, and another one comes.
    await test.broker.settled.until(({ length }) => length > 50);
    await workers[0]?.quit({ timeoutMs: 0 });
    await test.startWorker({ concurrency: 5 });
  }

  const sent = [...expected].filter(([, state]) => state !== undefined);
  await test.backend.written.until((items) => {
    const final = new Set(items.filter(({ state }) => isFinal(state)).map(({ taskUuid }) => taskUuid));
    return sent.every(([uuid]) => final.has(uuid));
  });
  faulty = false;
  // Duplicates that a lost reply made may still be under way.
  await test.broker.idle();
  await test.server.close();
  expect(await test.broker.pendingMessages('q', 10)).toEqual([]);
  expect(await test.broker.delayedMessages(10)).toEqual([]);
  expect(test.broker.memory.deadMessages('q')).toEqual([]);
  const ended = new Map<string, string | undefined>();
  for (const { taskUuid, state } of test.backend.written.items) ended.set(taskUuid, state);
  for (const [uuid, state] of expected) expect([uuid, ended.get(uuid)]).toEqual([uuid, state]);
}

describe('hundreds of tasks with retries and callbacks over three workers', () => {
  it.each<[number, string, number]>([
    [0, 'that all go on', 1],
    [0.02, 'that all go on', 2],
    [0.1, 'that all go on', 1],
    [0, 'of which one is aborted', 2],
    [0.05, 'of which one is aborted', 2],
    [0.12, 'of which one is aborted', 1],
  ])(
    'all end as they should when every call fails with a chance of %d, with workers %s',
    async (rate, workers, numRuns) => {
      await fc.assert(
        fc.asyncProperty(fc.integer(), (seed) => run(seed, rate, workers !== 'that all go on')),
        { numRuns, endOnFailure: true, interruptAfterTimeLimit: 15_000, markInterruptAsFailure: true },
      );
    },
    20_000,
  );
});
