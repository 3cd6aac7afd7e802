// Wrong options: each is an error at once that names the option, what was expected and what came.

import { describe, expect, it } from 'vitest';
import { defineTask, int64, rest, Server, type ServerOptions } from '../../src/index.ts';
import { EagerBroker, MemoryBackend, MemoryBroker } from '../../src/memory/index.ts';
import { errorLike, expectNothingSent, testServer, thrownBy } from './setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const invalid = (message: string | RegExp) => errorLike('ERR_MACHINERY_INVALID_OPTION', message);

describe('new Server', () => {
  const make = (options: object) => () =>
    new Server({ broker: new MemoryBroker(), backend: new MemoryBackend(), ...options } as ServerOptions);

  it.each<[object, string]>([
    [{ broker: undefined }, 'Server: expected `broker` to be an object, got `undefined` (undefined)'],
    [{ backend: null }, 'Server: expected `backend` to be an object, got `null` (null)'],
    [{ broker: 'redis://' }, 'Server: expected `broker` to be an object, got `redis://` (string)'],
    [{ broker: EagerBroker }, /^Server: expected `broker` to be an object, got `class EagerBroker/ as never],
    [{ lock: 5 }, 'Server: expected `lock` to be an object, got `5` (number)'],
    [{ defaultQueue: '' }, 'Server: expected `defaultQueue` to be a string that is not empty, got `` (string)'],
    [
      { resultsExpireInSeconds: 0 },
      'Server: expected `resultsExpireInSeconds` to be an integer >= 1 and <= 2147483647, got `0` (number)',
    ],
    [
      { resultsExpireInSeconds: '60' },
      'Server: expected `resultsExpireInSeconds` to be an integer >= 1 and <= 2147483647, got `60` (string)',
    ],
    [
      { resultsExpireInSeconds: Number.NaN },
      'Server: expected `resultsExpireInSeconds` to be an integer >= 1 and <= 2147483647, got `NaN` (number)',
    ],
    [{ logger: {} }, 'Server: expected `logger` to be an object with debug, info, warn and error, got `{}` (object)'],
    [{ logger: null }, 'Server: expected `logger` to be an object with debug, info, warn and error, got `null` (null)'],
    [{ telemetry: true }, 'Server: expected `telemetry` to be an object, got `true` (boolean)'],
    [{ prePublishHandler: 'x' }, 'Server: expected `prePublishHandler` to be a function, got `x` (string)'],
    [
      { resultExpireIn: 5 },
      'Server: unknown option `resultExpireIn`, known are broker, backend, lock, programName, defaultQueue, resultsExpireInSeconds, handleSignals, logger, telemetry, prePublishHandler, clock',
    ],
  ])('refuses %o', async (options, message) => {
    expect(await thrownBy(make(options))).toEqual(invalid(message));
  });

  it('refuses what is no options', async () => {
    const server = Server as unknown as new (options?: unknown) => Server;
    expect(await thrownBy(() => new server())).toEqual(
      invalid('Server: expected its options to be an object, got `undefined` (undefined)'),
    );
  });

  it.each(['debug', 'info', 'warn', 'error'])('refuses a logger without %s', async (level) => {
    const logger = { ...console, [level]: undefined };
    expect(await thrownBy(make({ logger }))).toEqual(invalid(/expected `logger` to be an object with debug/));
  });
});

describe('adapters', () => {
  const make = (options: object) => () =>
    new Server({ broker: new MemoryBroker(), backend: new MemoryBackend(), ...options } as ServerOptions);

  it.each(['broker', 'backend', 'lock'])('that are none are refused: %s', async (role) => {
    expect(await thrownBy(make({ [role]: {} }))).toEqual(
      invalid(new RegExp(`^Expected \`${role}\` to be a ${role} \\(.*\\), got \`{}\` \\(object\\)$`)),
    );
  });

  it('of another contract are refused, and both packages named', async () => {
    const broker = Object.assign(new MemoryBroker(), { name: '@machinery/broker-redis', contractVersion: 2 });
    const text =
      '@machinery/broker-redis was written for version 2 of the broker contract, @machinery/core has version 1: install versions of both packages that go together';
    expect(await thrownBy(make({ broker }))).toEqual(errorLike('ERR_MACHINERY_CONTRACT_VERSION', text));
    const backend = Object.assign(new MemoryBackend(), { name: '@machinery/backend-redis', contractVersion: '1' });
    expect(await thrownBy(make({ backend }))).toEqual(
      errorLike(
        'ERR_MACHINERY_CONTRACT_VERSION',
        /^@machinery\/backend-redis was written for version 1 of the backend/,
      ),
    );
  });

  it('in the place of the other are refused', async () => {
    expect(await thrownBy(make({ broker: new MemoryBackend() }))).toEqual(
      invalid(/^Expected `broker` to be a broker \(.*\), got .*MemoryBackend/),
    );
    expect(await thrownBy(make({ backend: new MemoryBroker() }))).toEqual(
      invalid(/^Expected `backend` to be a backend \(.*\), got .*MemoryBroker/),
    );
  });
});

describe('newWorker', () => {
  it.each<[object, string]>([
    [{ concurrency: 2.5 }, 'expected `concurrency` to be an integer >= 0 and <= 100000, got `2.5` (number)'],
    [{ concurrency: -1 }, 'expected `concurrency` to be an integer >= 0 and <= 100000, got `-1` (number)'],
    [{ concurrency: '10' }, 'expected `concurrency` to be an integer >= 0 and <= 100000, got `10` (string)'],
    [{ concurrency: null }, 'expected `concurrency` to be an integer >= 0 and <= 100000, got `null` (null)'],
    [{ queue: '' }, 'expected `queue` to be a string that is not empty, got `` (string)'],
    [{ maxDeliveries: 0 }, 'expected `maxDeliveries` to be an integer >= 1, got `0` (number)'],
    [{ errorHandler: {} }, 'expected `errorHandler` to be a function, got `{}` (object)'],
    [{ preTaskHandler: 1 }, 'expected `preTaskHandler` to be a function, got `1` (number)'],
    [{ postTaskHandler: 1n }, 'expected `postTaskHandler` to be a function, got `1` (bigint)'],
    [{ preConsumeHandler: true }, 'expected `preConsumeHandler` to be a function, got `true` (boolean)'],
    [
      { slots: 1 },
      'unknown option `slots`, known are concurrency, queue, prefetch, maxDeliveries, errorHandler, preTaskHandler, postTaskHandler, preConsumeHandler',
    ],
  ])('refuses %o', async (options, message) => {
    const { server } = testServer();
    expect(await thrownBy(() => server.newWorker('w', options))).toEqual(invalid(`newWorker: ${message}`));
  });

  it('refuses what is no tag and no options', async () => {
    const { server } = testServer();
    expect(await thrownBy(() => server.newWorker(''))).toEqual(
      invalid('newWorker: expected the consumer tag to be a string that is not empty, got `` (string)'),
    );
    expect(await thrownBy(() => server.newWorker('w', 10 as never))).toEqual(
      invalid('newWorker: expected its options to be an object, got `10` (number)'),
    );
  });

  it('takes 0 as no limit, which is 1,000', () => {
    expect(testServer().server.newWorker('w', { concurrency: 0 }).concurrency).toBe(1_000);
  });
});

describe('get and the lists', () => {
  it.each<[object, string]>([
    [{ timeoutMs: -1 }, 'get: expected `timeoutMs` to be an integer >= 0 and <= 2147483647, got `-1` (number)'],
    [{ timeoutMs: '5' }, 'get: expected `timeoutMs` to be an integer >= 0 and <= 2147483647, got `5` (string)'],
    [
      { timeoutMs: 2 ** 31 },
      'get: expected `timeoutMs` to be an integer >= 0 and <= 2147483647, got `2147483648` (number)',
    ],
    [{ timeout: 5 }, 'get: unknown option `timeout`, known are timeoutMs, signal'],
    [{ signal: {} }, 'get: expected `signal` to be an AbortSignal, got `{}` (object)'],
    [{ signal: new AbortController() }, 'get: expected `signal` to be an AbortSignal, got `{}` (object)'],
  ])('get refuses %o', async (options, message) => {
    const result = testServer().server.result('task_1');
    expect(await thrownBy(() => result.get(options))).toEqual(invalid(message));
  });

  it('get refuses a number in place of its options', async () => {
    const result = testServer().server.result('task_1');
    expect(await thrownBy(() => result.get(5 as never))).toEqual(
      invalid('get: expected its options to be an object, got `5` (number)'),
    );
  });

  it('result refuses what is no UUID', async () => {
    const { server } = testServer();
    expect(await thrownBy(() => server.result(''))).toEqual(invalid('result: expected a UUID, got `` (string)'));
    expect(await thrownBy(() => server.result(undefined as never))).toEqual(
      invalid('result: expected a UUID, got `undefined` (undefined)'),
    );
  });

  it('result refuses what is no task', async () => {
    const { server } = testServer();
    expect(await thrownBy(() => server.result('task_1', 'add' as never))).toEqual(invalid(/^result: expected a task/));
  });

  it('lists refuse a wrong limit', async () => {
    const { server } = testServer();
    const text = 'expected `limit` to be an integer >= 1, got `0` (number)';
    expect(await thrownBy(() => server.pendingTasks('q', { limit: 0 }))).toEqual(invalid(`pendingTasks: ${text}`));
    expect(await thrownBy(() => server.delayedTasks({ limit: 0 }))).toEqual(invalid(`delayedTasks: ${text}`));
  });
});

describe('handle', () => {
  it.each<[object, string]>([
    [{ timeoutMs: 0 }, "handle('add'): expected `timeoutMs` to be an integer >= 1 and <= 2147483647, got `0` (number)"],
    [{ backoff: 5 }, "handle('add'): expected `backoff` to be a backoff or a function, got `5` (number)"],
    [
      { backoff: { delayMs: -1 } },
      "`backoff` of handle('add'): expected `delayMs` to be a number >= 0, got `-1` (number)",
    ],
    [{ retries: 5 }, "handle('add'): unknown option `retries`, known are backoff, timeoutMs"],
  ])('refuses %o', async (options, message) => {
    const { server } = testServer();
    expect(await thrownBy(() => server.handle(add, () => 1, options))).toEqual(invalid(message));
    expect(server.isTaskRegistered('add')).toBe(false);
  });
});

describe('send and with', () => {
  it.each<[object, string | RegExp]>([
    [{ queue: '' }, 'expected `queue` to be a string that is not empty, got `` (string)'],
    [{ priority: 256 }, 'expected `priority` to be an integer >= 0 and <= 255, got `256` (number)'],
    [{ retries: 1.5 }, 'expected `retries` to be an integer >= 0 and <= 2147483647, got `1.5` (number)'],
    [{ timeoutMs: 0 }, 'expected `timeoutMs` to be an integer >= 1 and <= 2147483647, got `0` (number)'],
    [{ backoff: () => 5 }, /^expected `backoff` to be an object, got `\(\) => 5` \(function\)$/],
    [{ ignoreWhenTaskNotRegistered: 1 }, 'expected `ignoreWhenTaskNotRegistered` to be a boolean, got `1` (number)'],
    [{ eta: new Date(Number.NaN) }, 'expected `eta` to be a valid Date or RFC 3339 text, got `Invalid Date` (object)'],
    [{ eta: 5 }, 'expected `eta` to be a valid Date or RFC 3339 text, got `5` (number)'],
    [{ eta: 'tomorrow' }, 'expected `eta` to be a valid Date or RFC 3339 text, got `tomorrow` (string)'],
    [{ delayMs: -1 }, 'expected `delayMs` to be a number >= 0, got `-1` (number)'],
    [{ delayMs: Number.NaN }, 'expected `delayMs` to be a number >= 0, got `NaN` (number)'],
    [{ delayMs: Number.POSITIVE_INFINITY }, 'expected `delayMs` to be a number >= 0, got `Infinity` (number)'],
    [{ headers: { a: 1 } }, 'expected `headers` to be an object of strings, got `{"a":1}` (object)'],
    [{ uuid: '' }, 'expected `uuid` to be a string that is not empty, got `` (string)'],
    [{ immutable: 'yes' }, 'expected `immutable` to be a boolean, got `yes` (string)'],
    [{ onSuccess: add(1) }, /^expected `onSuccess` to be an array of signatures, got `{"name":"add"/],
    [{ onError: 'x' }, 'expected `onError` to be an array of signatures, got `x` (string)'],
    [{ brokerMessageGroupId: '' }, 'expected `brokerMessageGroupId` to be a string that is not empty, got `` (string)'],
    [{ stopTaskDeletionOnError: 0 }, 'expected `stopTaskDeletionOnError` to be a boolean, got `0` (number)'],
    [{ delay: 5 }, /^unknown option `delay`, known are queue, priority, /],
  ])('refuse %o', async (options, message) => {
    const prefix = 'Options of task add: ';
    const expected = invalid(
      typeof message === 'string' ? prefix + message : new RegExp(`^${prefix}${message.source.slice(1)}`),
    );
    const test = testServer();
    expect(await thrownBy(() => add(1).with(options))).toEqual(expected);
    expect(await thrownBy(() => test.server.send(add(1), options))).toEqual(expected);
    expect(await thrownBy(() => test.server.send({ name: 'add' }, options))).toEqual(expected);
    expectNothingSent(test);
  });

  it('refuse a backoff with a wrong field', async () => {
    const text = '`backoff` of task add: expected `jitter` to be a number >= 0 and <= 1, got `2` (number)';
    expect(await thrownBy(() => add(1).with({ backoff: { delayMs: 5, jitter: 2 } }))).toEqual(invalid(text));
  });

  it('send refuses what is no signal, and names it among what it knows', async () => {
    const test = testServer();
    expect(await thrownBy(() => test.server.send(add(1), { signal: {} as never }))).toEqual(
      invalid('Options of task add: expected `signal` to be an AbortSignal, got `{}` (object)'),
    );
    expect(await thrownBy(() => test.server.send(add(1), { sginal: 5 } as never))).toEqual(invalid(/, signal$/));
    expectNothingSent(test);
  });

  it.each([null, 5, 'x', []])('send refuses %o in place of its options', async (options) => {
    const test = testServer();
    expect(await thrownBy(() => test.server.send(add(1), options as never))).toEqual(
      invalid(/expected its options to be an object, got/),
    );
    expectNothingSent(test);
  });
});
