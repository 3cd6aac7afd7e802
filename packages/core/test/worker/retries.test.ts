// What becomes of a task that fails and has retries left.

import { readFileSync } from 'node:fs';
import { beforeEach, describe, expect, it } from 'vitest';
import { RetryLater, UnrecoverableError } from '../../src/errors.ts';
import type { HandlerOptions } from '../../src/registry.ts';
import type { Signature } from '../../src/signature.ts';
import { defineTask } from '../../src/task.ts';
import { currentTask } from '../../src/task-context.ts';
import { string } from '../../src/task-types.ts';
import { gate } from './journal.ts';
import { goMessage, goSentAt, ourMessage } from './messages.ts';
import { type TestServer, testServer } from './test-server.ts';

const vectors = new URL('../../../../interop/vectors/fibonacci.json', import.meta.url);
const fibonacci = JSON.parse(readFileSync(vectors, 'utf8')) as [number, number][];

let test: TestServer;
let attempts: number[];
beforeEach(() => {
  test = testServer();
  attempts = [];
  test.server.registerTask('fails', () => {
    attempts.push(currentTask()?.attempt ?? 0);
    throw new Error(`no ${attempts.length}`);
  });
  test.server.registerTask('echo', (value) => value);
});

const soon = { 'machinery-backoff': '{"delayMs":1,"factor":1}' };
/** The message of a task's next attempt. */
const nextMessage = (attempt = 2) =>
  test.broker.published.first(({ headers }) => headers?.['machinery-attempt'] === String(attempt));

describe('a failed attempt', () => {
  it('waits as Go does: 1 s, then the next Fibonacci number', async () => {
    await test.startWorker();
    const before = Date.now();
    await test.server.send({ name: 'fails', uuid: 'f', retryCount: 3 });
    const next = await nextMessage();
    expect(next).toMatchObject({ uuid: 'f', retryCount: 2, retryTimeout: 1 });
    const waitMs = Date.parse(next.eta as string) - before;
    expect(waitMs).toBeGreaterThanOrEqual(1_000);
    expect(waitMs).toBeLessThan(1_500);
    expect(await test.backend.state('f')).toMatchObject({
      state: 'RETRY',
      error: 'no 1',
      retryEta: next.eta,
      retryCount: 2,
    });
  });

  it('that nothing can help is a FAILURE at once, and its error callback is sent', async () => {
    test.server.registerTask('hopeless', () => {
      attempts.push(1);
      throw new UnrecoverableError('The card has expired');
    });
    await test.startWorker();
    await test.server.send({ name: 'hopeless', uuid: 'h', retryCount: 5, onError: [{ uuid: 'e', name: 'echo' }] });
    expect(await test.backend.final('h')).toMatchObject({ state: 'FAILURE', error: 'The card has expired' });
    expect(await test.backend.final('e')).toMatchObject({ results: [{ value: 'The card has expired' }] });
    expect(attempts).toEqual([1]);
  });

  it('that the broker cannot delay so long is a FAILURE with its own error', async () => {
    test = testServer({ maxDelayMs: 500 });
    test.server.registerTask('fails', () => {
      throw new Error('the real reason');
    });
    await test.startWorker();
    await test.server.send({ name: 'fails', uuid: 'f', retryCount: 1 });
    expect(await test.backend.final('f')).toMatchObject({ state: 'FAILURE', error: 'the real reason' });
    expect(test.logger.texts('error')).toContainEqual(
      expect.stringMatching(/^Task fails \(f\) cannot be tried again: .* delays by 500 ms at most$/),
    );
  });

  it.each(fibonacci)('that had waited %i s waits %i s, as Go printed', async (retryTimeout, next) => {
    await test.startWorker();
    await test.broker.put(ourMessage({ name: 'fails', uuid: 'f', retryCount: 1, retryTimeout }));
    expect((await nextMessage()).retryTimeout).toBe(next);
  });

  it('is tried until its retries are used up, then it is a FAILURE and the error callback is sent', async () => {
    const errors: unknown[] = [];
    await test.startWorker({ errorHandler: (error) => errors.push((error as Error).message) });
    const onError = [{ uuid: 'sorry', name: 'echo' }];
    const result = await test.server.send({ name: 'fails', retryCount: 2, headers: soon, onError });
    await expect(result.get()).rejects.toThrow('no 3');
    expect(attempts).toEqual([1, 2, 3]);
    expect(errors).toEqual(['no 3']);
    expect(await test.server.result('sorry').get()).toBe('no 3');
    const names = test.backend.statesOf(result.uuid).filter((name) => name !== 'STARTED');
    expect(names).toEqual(['PENDING', 'RETRY', 'RETRY', 'FAILURE']);
  });

  it('is never tried before its ETA', async () => {
    const startedAt: number[] = [];
    test.server.registerTask('work', () => {
      startedAt.push(Date.now());
      throw new Error('no');
    });
    await test.startWorker();
    const headers = { 'machinery-backoff': '{"delayMs":7.5,"factor":1.7}' };
    await test.server.send({ name: 'work', uuid: 'w', retryCount: 6, headers });
    await test.backend.final('w');
    const etas = test.backend.written.items.flatMap(({ retryEta }) =>
      retryEta === undefined ? [] : [Date.parse(retryEta)],
    );
    expect(etas).toHaveLength(6);
    for (const [i, eta] of etas.entries()) expect(startedAt[i + 1]).toBeGreaterThanOrEqual(eta);
  });

  it('keeps everything else of its message: headers, priority, queue, arguments, callbacks', async () => {
    await test.startWorker({ queue: 'other' });
    const signature: Signature = {
      name: 'fails',
      uuid: 'f',
      routingKey: 'other',
      priority: 7,
      headers: { tenant: 'a', ...soon },
      args: [{ name: 'n', type: 'uint64', value: 18446744073709551615n }],
      onSuccess: [{ uuid: 's', name: 'echo', retryCount: 2 }],
      onError: [{ uuid: 'e', name: 'echo' }],
      chordCallback: { uuid: 'c', name: 'echo' },
      groupUuid: 'g',
      groupTaskCount: 3,
      immutable: true,
      brokerMessageGroupId: 'm',
      stopTaskDeletionOnError: true,
    };
    await test.broker.put(ourMessage({ ...signature, retryCount: 1 }), 'other');
    const { eta, ...next } = await nextMessage();
    expect(eta).toBeDefined();
    expect(next).toEqual({
      ...signature,
      retryTimeout: 1,
      headers: { ...signature.headers, 'machinery-sent-at': expect.any(String), 'machinery-attempt': '2' },
    });
  });

  it('of a message of Go keeps the time of sending that is stored', async () => {
    await test.backend.put({ taskUuid: 'f', taskName: 'fails', state: 'PENDING', createdAt: goSentAt });
    await test.broker.put(goMessage({ name: 'fails', uuid: 'f', retryCount: 1, headers: soon }));
    await test.startWorker();
    await test.backend.final('f');
    expect(attempts).toEqual([1, 2]);
    const states = test.backend.written.items.filter(({ state }) => state === 'RETRY' || state === 'FAILURE');
    expect(states.map(({ createdAt }) => createdAt)).toEqual([goSentAt, goSentAt]);
  });

  it('keeps the time of sending when a prePublishHandler answers another signature', async () => {
    test = testServer({ server: { prePublishHandler: (signature) => ({ ...signature, priority: 1 }) } });
    const go = gate();
    test.server.registerTask('work', async () => {
      await go.opened;
      if (currentTask()?.attempt === 1) throw new Error('once');
    });
    await test.startWorker();
    await test.server.send({ name: 'work', uuid: 'w', retryCount: 1, headers: soon });
    const sent = (await test.backend.state('w'))?.createdAt as string;
    while (Date.now() <= Date.parse(sent) + 2) await new Promise((resolve) => setImmediate(resolve));
    go.open();
    expect(await test.backend.final('w')).toMatchObject({ state: 'SUCCESS', createdAt: sent });
  });
});

describe('backoff', () => {
  const failing = (options: HandlerOptions, defaults: object = {}) => {
    const task = defineTask('declared', { args: [string], ...defaults });
    test.server.handle(
      task,
      () => {
        attempts.push(currentTask()?.attempt ?? 0);
        throw new Error('no');
      },
      options,
    );
    return task;
  };
  /** How long the next attempt waits. */
  const waitMs = async () => {
    const before = Date.now();
    return Date.parse((await nextMessage()).eta as string) - before;
  };

  it("of the task is used in place of Go's", async () => {
    const task = failing({}, { retries: 1, backoff: { delayMs: 5_000 } });
    await test.startWorker();
    await test.server.send(task('x'));
    expect(await waitMs()).toBeGreaterThan(4_900);
  });

  it('of a send goes before that of the task', async () => {
    const task = failing({}, { retries: 1, backoff: { delayMs: 5_000 } });
    await test.startWorker();
    await test.server.send(task('x'), { backoff: { delayMs: 1 } });
    expect(await waitMs()).toBeLessThan(1_000);
  });

  it('of the handler goes before both', async () => {
    const task = failing({ backoff: { delayMs: 9_000 } }, { retries: 1, backoff: { delayMs: 5_000 } });
    await test.startWorker();
    await test.server.send(task('x'), { backoff: { delayMs: 1 } });
    expect(await waitMs()).toBeGreaterThan(8_900);
  });

  it('grows by its factor up to its limit', async () => {
    const headers = { 'machinery-backoff': '{"delayMs":1000,"factor":3,"maxDelayMs":8000}' };
    await test.startWorker();
    for (const [attempt, expected] of [
      [2, 3_000],
      [3, 8_000],
      [500, 8_000],
      [5_000, 8_000],
    ] as const) {
      const before = Date.now();
      await test.broker.put(ourMessage({ name: 'fails', uuid: `f${attempt}`, retryCount: 1, headers }, attempt));
      const delay = Date.parse((await nextMessage(attempt + 1)).eta as string) - before;
      expect(Math.abs(delay - expected)).toBeLessThan(500);
    }
  });

  it('of no delay stays none after thousands of attempts', async () => {
    await test.startWorker();
    const headers = { 'machinery-backoff': '{"delayMs":0}' };
    await test.broker.put(ourMessage({ name: 'fails', uuid: 'f', retryCount: 1, headers }, 5_000));
    expect(await test.backend.final('f')).toMatchObject({ state: 'FAILURE', error: 'no 2' });
  }, 2_000);

  it('may be a function of the attempt and the error', async () => {
    const asked: unknown[] = [];
    const task = failing({
      backoff: (attempt, error) => {
        asked.push(attempt, (error as Error).message);
        return 1;
      },
    });
    await test.startWorker();
    await expect((await test.server.send(task('x'), { retries: 2 })).get()).rejects.toThrow('no');
    expect(asked).toEqual([1, 'no', 2, 'no']);
  });

  it.each<[string, () => number]>([
    [
      'throws',
      () => {
        throw new Error('of the backoff');
      },
    ],
    ['answers NaN', () => Number.NaN],
    ['answers a negative number', () => -1],
    ['answers Infinity', () => Number.POSITIVE_INFINITY],
    ['answers a promise', () => Promise.resolve(1) as never],
    ['answers nothing', () => undefined as never],
  ])(
    'that is a function and %s makes the task a FAILURE',
    async (_, backoff) => {
      const task = failing({ backoff });
      await test.startWorker();
      await expect((await test.server.send(task('x'), { retries: 3 })).get()).rejects.toThrow();
      expect(attempts).toEqual([1]);
    },
    2_000,
  );

  it.each(['no JSON', '{"delayMs":-1}', '[]', '{"delayMs":1,"factor":0}', '{}'])(
    "in a broken header means Go's: %s",
    async (text) => {
      await test.startWorker();
      await test.broker.put(
        ourMessage({ name: 'fails', uuid: 'f', retryCount: 1, headers: { 'machinery-backoff': text } }),
      );
      expect((await nextMessage()).retryTimeout).toBe(1);
    },
  );
});

describe('RetryLater', () => {
  it('is tried again after its delay without using a retry, also when there is none', async () => {
    test.server.registerTask('later', () => {
      attempts.push(currentTask()?.attempt ?? 0);
      if (attempts.length < 4) throw new RetryLater(1);
      return 'done';
    });
    await test.startWorker();
    const result = await test.server.send({ name: 'later' });
    expect(await result.get()).toBe('done');
    expect(attempts).toEqual([1, 2, 3, 4]);
    expect(test.broker.published.items.map(({ retryCount }) => retryCount)).toEqual(Array(4).fill(undefined));
  });

  it('keeps RetryCount and RetryTimeout', async () => {
    test.server.registerTask('later', () => {
      throw new RetryLater(60_000, 'not yet');
    });
    await test.startWorker();
    await test.broker.put(ourMessage({ name: 'later', uuid: 'l', retryCount: 2, retryTimeout: 3 }));
    expect(await nextMessage()).toMatchObject({ retryCount: 2, retryTimeout: 3 });
    expect(await test.backend.state('l')).toMatchObject({ state: 'RETRY', error: 'not yet', retryCount: 2 });
  });
});

describe('timeoutMs', () => {
  it('fails the attempt, fires its AbortSignal and tries again', async () => {
    const reasons: unknown[] = [];
    test.server.registerTask('slow', () => {
      const context = currentTask();
      if (context?.attempt === 2) return 'in time';
      context?.signal.addEventListener('abort', () => reasons.push(context.signal.reason));
      return new Promise(() => {});
    });
    await test.startWorker();
    const headers = { ...soon, 'machinery-timeout-ms': '10' };
    expect(await (await test.server.send({ name: 'slow', retryCount: 1, headers })).get()).toBe('in time');
    expect(reasons).toMatchObject([{ code: 'ERR_MACHINERY_TASK_TIMEOUT' }]);
  });

  it('frees the slot, and what the handler does later changes nothing', async () => {
    const late = gate();
    test.server.registerTask('slow', async () => {
      await late.opened;
      return 'late';
    });
    await test.startWorker({ concurrency: 1 });
    await test.server.send({ name: 'slow', uuid: 's', headers: { 'machinery-timeout-ms': '10' } });
    expect(await test.backend.final('s')).toMatchObject({
      state: 'FAILURE',
      error: 'Task slow took longer than 10 ms',
    });
    const echo = await test.server.send({ name: 'echo', args: [{ type: 'int64', value: 1 }] });
    expect(await echo.get()).toBe(1);
    late.open();
    await (await test.server.send({ name: 'echo' })).get();
    expect(await test.backend.state('s')).toMatchObject({ state: 'FAILURE' });
  });

  it('of the handler goes before that of the message', async () => {
    const task = defineTask('slow', { timeoutMs: 60_000 });
    test.server.handle(task, () => new Promise<void>(() => {}), { timeoutMs: 10 });
    await test.startWorker();
    await expect((await test.server.send(task())).get()).rejects.toThrow('longer than 10 ms');
  });
});
