// A broker or a backend that is away for a while: nothing is lost, everything is tried again, and it is logged once.

import { beforeEach, describe, expect, it } from 'vitest';
import type { StateWrite } from '../../src/backend.ts';
import { failed, type Outcome } from '../../src/outcome.ts';
import { isFinal } from '../../src/task-state.ts';
import { backendAway } from './faulty-backend.ts';
import { brokerAway, refusedForGood } from './faulty-broker.ts';
import { goMessage, ourMessage } from './messages.ts';
import { type TestServer, testServer } from './test-server.ts';

let test: TestServer;
beforeEach(() => {
  test = testServer();
  test.server.registerTask('echo', (value) => value);
  test.server.registerTask('fails', () => {
    throw new Error('no');
  });
});

const echo = (value: number, more: object = {}) =>
  test.server.send({ name: 'echo', args: [{ type: 'int64', value }], ...more });
const refused = { status: 'failed', error: refusedForGood(), retryable: false } as const;
const lost: Outcome = { status: 'unknown', error: brokerAway() };

describe('a backend that is away', () => {
  it.each<[string, Outcome | undefined]>([
    ['rejects', undefined],
    ['answers failed, retryable', failed(backendAway(), true)],
    ['answers unknown', lost],
  ])('and %s: final states are written later, with one warning', async (_, outcome) => {
    await test.startWorker();
    test.backend.failWrites(2, ({ state }) => isFinal(state), outcome);
    const results = await Promise.all([1, 2, 3].map((value) => echo(value)));
    expect(await Promise.all(results.map((result) => result.get()))).toEqual([1, 2, 3]);
    await test.broker.settled.until((items) => items.length === 3);
    expect(test.logger.texts('warn')).toHaveLength(1);
  });

  it('delays the RETRY state and then the retry', async () => {
    await test.startWorker();
    test.backend.failWrites(2, ({ state }) => state === 'RETRY');
    const headers = { 'machinery-backoff': '{"delayMs":1}' };
    await test.server.send({ name: 'fails', uuid: 'f', retryCount: 1, headers });
    expect(await test.backend.final('f')).toMatchObject({ state: 'FAILURE', error: 'no' });
    expect(test.backend.statesOf('f').filter((name) => name === 'RETRY')).toHaveLength(1);
  });

  it('delays the callback until its PENDING is stored', async () => {
    test.backend.failWrites(2, ({ state, taskUuid }) => state === 'PENDING' && taskUuid === 'next');
    await test.startWorker();
    await echo(1, { onSuccess: [{ uuid: 'next', name: 'echo' }] });
    expect(await test.backend.final('next')).toMatchObject({ state: 'SUCCESS' });
    const order = test.backend.statesOf('next');
    expect(order).toEqual(['PENDING', 'SUCCESS']);
  });

  it('is waited for when a redelivery has to be looked up', async () => {
    let away = 2;
    test.backend.onRead = async (_, next) => {
      if (away-- > 0) throw backendAway();
      return next();
    };
    await test.backend.put({
      taskUuid: 'e',
      taskName: 'echo',
      state: 'SUCCESS',
      results: [],
      createdAt: '2026-11-21T08:00:00.123Z',
    });
    await test.broker.putRedelivered(ourMessage({ uuid: 'e', name: 'echo' }));
    await test.startWorker();
    await test.broker.settled.first(({ kind }) => kind === 'ack');
    expect(test.backend.written.items).toEqual([]);
  });

  it('is waited for when a message of Go has to be looked up, and the task runs once', async () => {
    let away = 2;
    let runs = 0;
    test.server.registerTask('work', () => ++runs);
    test.backend.onRead = async (_, next) => {
      if (away-- > 0) throw backendAway();
      return next();
    };
    await test.broker.put(goMessage({ uuid: 'w', name: 'work' }));
    await test.startWorker();
    await test.backend.final('w');
    expect(runs).toBe(1);
  });

  it('does not delay tasks when only RECEIVED or STARTED cannot be written', async () => {
    await test.startWorker();
    const isNews = ({ state }: StateWrite) => state.state === 'STARTED' || state.state === 'RECEIVED';
    let refused = () => {};
    const wasRefused = new Promise<void>((resolve) => {
      refused = resolve;
    });
    test.server.registerTask('slow', () => wasRefused);
    test.backend.onWrite = async (writes, next) => {
      if (!writes.some(isNews)) return next();
      refused();
      throw backendAway();
    };
    await test.server.send({ name: 'slow', uuid: 's' });
    expect(await test.backend.final('s')).toMatchObject({ state: 'SUCCESS' });
    expect(test.logger.texts('warn')).toEqual([]);
  });
});

describe('a backend that refuses for good', () => {
  const sorry = { onError: [{ uuid: 'sorry', name: 'echo' }] };

  it('makes a result that is too large a FAILURE that tells the error callback', async () => {
    test = testServer({ maxStateBytes: 400 });
    test.server.registerTask('large', () => 'x'.repeat(500));
    await test.startWorker();
    await test.server.send({ name: 'large', uuid: 'l', ...sorry });
    expect(await test.backend.final('l')).toMatchObject({ state: 'FAILURE', error: expect.stringContaining('400') });
    await test.broker.published.first(({ uuid }) => uuid === 'sorry');
  });

  it.each([0, 1])(
    'keeps a FAILURE whose text is too large, shortened (retries: %i)',
    async (retryCount) => {
      test = testServer({ maxStateBytes: 400 });
      test.server.registerTask('large', () => {
        throw new Error('x'.repeat(500));
      });
      await test.startWorker();
      const headers = { 'machinery-backoff': '{"delayMs":1}' };
      await test.server.send({ name: 'large', uuid: 'l', retryCount, headers, ...sorry });
      expect(await test.backend.final('l')).toMatchObject({ state: 'FAILURE', error: expect.stringMatching(/^xxx/) });
      await test.broker.published.first(({ uuid }) => uuid === 'sorry');
    },
    2_000,
  );
});

describe('a backend that refuses every FAILURE', () => {
  it('leaves the message among the dead, and the error callback is sent all the same', async () => {
    test.server.registerTask('throws', () => {
      throw new Error('no');
    });
    await test.startWorker();
    test.backend.onWrite = async (writes, next) =>
      writes.some(({ state }) => state.state === 'FAILURE') ? writes.map(() => refused) : next();
    await test.server.send({ name: 'throws', uuid: 't', onError: [{ uuid: 'sorry', name: 'echo' }] });
    await test.broker.published.first(({ uuid }) => uuid === 'sorry');
    const settled = await test.broker.settled.first(({ kind }) => kind === 'dead');
    expect(settled).toMatchObject({ reason: expect.stringContaining('could not be stored') });
  });
});

describe('a backend that cannot be read for good', () => {
  it('does not keep a task of another program from running', async () => {
    await test.startWorker();
    test.backend.onRead = () => Promise.reject(refused.error);
    await test.broker.put(goMessage({ uuid: 'g', name: 'echo', args: [{ type: 'int64', value: 1 }] }));
    expect(await test.backend.final('g')).toMatchObject({ state: 'SUCCESS' });
  });
});

describe('a callback whose publish may have succeeded', () => {
  it('is published again without writing PENDING over what it came to', async () => {
    await test.startWorker();
    let first = true;
    test.broker.onPublish = async (messages, next) => {
      const outcomes = await next();
      if (!first || !messages.some(({ signature }) => signature.uuid === 'next')) return outcomes;
      first = false;
      return outcomes.map(() => lost);
    };
    await echo(1, { onSuccess: [{ uuid: 'next', name: 'echo' }] });
    await test.broker.published.until((items) => items.filter(({ uuid }) => uuid === 'next').length === 2);
    await test.broker.idle();
    expect(test.backend.statesOf('next').filter((name) => name === 'PENDING')).toHaveLength(1);
  });
});

describe('a broker that does not take messages', () => {
  it.each<[string, Outcome | undefined]>([
    ['rejects', undefined],
    ['answers failed, retryable', failed(brokerAway(), true)],
    ['answers unknown', lost],
  ])('and %s: callbacks and retries are published later, before the ack', async (_, outcome) => {
    await test.startWorker();
    let away = 4;
    const inOrder: string[] = [];
    const headers = { 'machinery-backoff': '{"delayMs":1}' };
    await echo(1, { uuid: 'parent', onSuccess: [{ uuid: 'next', name: 'fails', retryCount: 1, headers }] });
    test.broker.onPublish = async (messages, next) => {
      if (away-- <= 0) return next();
      if (outcome === undefined) throw brokerAway();
      return messages.map(() => outcome);
    };
    test.broker.onSettle = async (settled, next) => {
      inOrder.push(...settled.map(({ kind }) => `${kind} after ${test.broker.published.items.length}`));
      return next();
    };
    expect(await test.backend.final('next')).toMatchObject({ state: 'FAILURE' });
    expect(test.broker.published.items.map(({ uuid }) => uuid)).toEqual(['parent', 'next', 'next']);
    expect(inOrder[0] ?? 'ack after 2').toBe('ack after 2');
  });

  it('for good makes the retry a FAILURE', async () => {
    await test.startWorker();
    test.broker.onPublish = async (messages, next) =>
      messages.some(({ signature }) => signature.headers?.['machinery-attempt'] !== undefined)
        ? messages.map(() => failed(refusedForGood(), false))
        : next();
    await test.server.send({ name: 'fails', uuid: 'f', retryCount: 1, onError: [{ uuid: 'sorry', name: 'echo' }] });
    expect(await test.backend.final('f')).toMatchObject({ state: 'FAILURE', error: 'no' });
    expect(test.logger.texts('error')).toContain('Task fails (f) cannot be tried again: Refused for good');
    await test.broker.published.first(({ uuid }) => uuid === 'sorry');
  });
});

describe('a broker whose consumer fails', () => {
  it('when it takes: the same settlements are offered again, the worker comes back, and it is logged once', async () => {
    const offered: string[] = [];
    let away = 3;
    const errors: unknown[] = [];
    test.broker.onExchange = async (settled, next) => {
      if (away-- <= 0) return next();
      offered.push(settled.map(({ kind }) => kind).join());
      throw brokerAway();
    };
    await test.startWorker({ errorHandler: (error) => errors.push(error) });
    const results = await Promise.all([1, 2, 3].map((value) => echo(value)));
    expect(await Promise.all(results.map((result) => result.get()))).toEqual([1, 2, 3]);
    await test.logger.first(({ level, text }) => level === 'info' && text.includes('answers again'));
    expect(test.logger.texts('warn')).toHaveLength(1);
    expect(errors).toHaveLength(1);
  });

  it('when it settles: the same settlements are offered again until it takes them', async () => {
    let away = 3;
    const offered: unknown[] = [];
    const fail = async <T>(settled: readonly unknown[], next: () => Promise<T>): Promise<T> => {
      if (settled.length === 0 || away-- <= 0) return next();
      offered.push(settled[0]);
      throw brokerAway();
    };
    test.broker.onExchange = fail;
    test.broker.onSettle = fail;
    const worker = await test.startWorker();
    await (await echo(1)).get();
    await test.broker.settled.first(({ kind }) => kind === 'ack');
    expect(new Set(offered).size).toBe(1);
    expect(test.logger.texts('warn')).toHaveLength(1);
    await worker.quit();
    expect(await test.server.pendingTasks('q')).toEqual([]);
  });

  it('when it settles although it did (a lost reply): nothing is settled or run twice', async () => {
    let lose = 3;
    let runs = 0;
    test.server.registerTask('work', () => ++runs);
    const fail = async <T>(settled: readonly unknown[], next: () => Promise<T>): Promise<T> => {
      if (settled.length === 0 || lose-- <= 0) return next();
      await next();
      throw brokerAway();
    };
    test.broker.onSettle = fail;
    const worker = await test.startWorker({ concurrency: 1 });
    for (let i = 0; i < 5; i++) await (await test.server.send({ name: 'work' })).get();
    await worker.quit();
    expect(runs).toBe(5);
    expect(await test.server.pendingTasks('q')).toEqual([]);
  });

  it('while the worker stops: the last settlements are tried again', async () => {
    let away = 3;
    test.broker.onSettle = async (_, next) => {
      if (away-- > 0) throw brokerAway();
      return next();
    };
    const worker = await test.startWorker();
    const result = await echo(1);
    await test.backend.final(result.uuid);
    await worker.quit();
    expect(await test.server.pendingTasks('q')).toEqual([]);
    expect(test.broker.calls.close).toBe(1);
  });

  it('for good while the worker stops: it gives up, says so, and the message comes back', async () => {
    test.broker.onSettle = () => Promise.reject(brokerAway());
    const worker = await test.startWorker();
    const result = await echo(1);
    await test.backend.final(result.uuid);
    await worker.quit();
    expect(test.logger.texts('error').join()).toContain('could not be settled');
    expect(await test.server.pendingTasks('q')).toHaveLength(1);
  }, 10_000);

  it('again later: it is logged again', async () => {
    let away = true;
    test.broker.onExchange = async (_, next) => {
      if (!away) return next();
      away = false;
      throw brokerAway();
    };
    await test.startWorker();
    await (await echo(1)).get();
    away = true;
    await (await echo(2)).get();
    await (await echo(3)).get();
    await test.logger.until((items) => items.filter(({ text }) => text.includes('answers again')).length === 2);
    expect(test.logger.texts('warn')).toHaveLength(2);
  });
});
