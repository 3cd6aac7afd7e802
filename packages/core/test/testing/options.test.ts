// The options of `testServer`, `drain` and `advance`; the logger; closing.

import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { defineTask, Server } from '../../src/index.ts';
import { MemoryBroker } from '../../src/memory/index.ts';
import { type TestServer, testServer } from '../../src/testing/index.ts';
import { errorLike, thrownBy } from '../server/setup.ts';

const fails = defineTask('fails', { retries: 1 });
const invalid = (text: string | RegExp) => errorLike('ERR_MACHINERY_INVALID_OPTION', text);

describe('testServer', () => {
  it.each<[unknown, string | RegExp]>([
    [{ now: '2027-01-01' }, 'testServer: expected `now` to be a valid Date, got `2027-01-01` (string)'],
    [{ now: new Date(Number.NaN) }, 'testServer: expected `now` to be a valid Date, got `Invalid Date` (object)'],
    [{ now: 0 }, 'testServer: expected `now` to be a valid Date, got `0` (number)'],
    [{ worker: 5 }, 'testServer: expected `worker` to be an object, got `5` (number)'],
    [{ leaveUnhandled: 1 }, 'testServer: expected `leaveUnhandled` to be a boolean, got `1` (number)'],
    [{ defaultQueue: '' }, /expected `defaultQueue` to be a string that is not empty, got `` \(string\)$/],
    [{ resultsExpireInSeconds: 0 }, /expected `resultsExpireInSeconds` to be an integer >= 1/],
    [{ logger: {} }, /expected `logger` to be an object with debug, info, warn and error/],
    [null, 'testServer: expected its options to be an object, got `null` (null)'],
    ['x', 'testServer: expected its options to be an object, got `x` (string)'],
  ])('refuses %o', async (options, text) => {
    expect(await thrownBy(() => testServer(options as never))).toEqual(invalid(text));
  });

  it('refuses an unknown option in its own name, and lists what it knows', async () => {
    const error = await thrownBy(() => testServer({ nwo: new Date() } as never));
    expect(error).toEqual(invalid(/^testServer: unknown option `nwo`, known are .*now.*worker.*leaveUnhandled/));
    expect((error as Error).message).not.toMatch(/broker|backend/);
  });

  it.each(['broker', 'backend', 'lock', 'clock'])('refuses %s, which it has of its own', async (name) => {
    const options = { [name]: new MemoryBroker() };
    expect(await thrownBy(() => testServer(options as never))).toEqual(
      invalid(new RegExp(`testServer: unknown option \`${name}\``)),
    );
  });

  it('passes the options of a Server on', async () => {
    const heard: string[] = [];
    await using server = testServer({
      defaultQueue: 'own',
      prePublishHandler: (signature) => {
        heard.push(signature.name);
        return signature;
      },
    });
    await server.send({ name: 'x' });
    expect(server).toBeInstanceOf(Server);
    expect(server.sent()).toMatchObject([{ queue: 'own' }]);
    expect(heard).toEqual(['x']);
  });
});

describe('drain and advance', () => {
  it.each<[(server: TestServer) => unknown, string]>([
    [(server) => server.drain({ maxTasks: 0 }), 'drain: expected `maxTasks` to be an integer >= 1, got `0` (number)'],
    [
      (server) => server.drain({ timeoutMs: 0.5 }),
      'drain: expected `timeoutMs` to be an integer >= 1 and <= 2147483647, got `0.5` (number)',
    ],
    [
      (server) => server.drain({ timeout: 5 } as never),
      'drain: unknown option `timeout`, known are maxTasks, timeoutMs, until',
    ],
    [(server) => server.drain(null as never), 'drain: expected its options to be an object, got `null` (null)'],
    [
      (server) => server.advance(5, { maxTasks: '5' } as never),
      'advance: expected `maxTasks` to be an integer >= 1, got `5` (string)',
    ],
    [(server) => server.advance(-1), 'advance: expected milliseconds >= 0, got `-1` (number)'],
    [(server) => server.advance(Number.NaN), 'advance: expected milliseconds >= 0, got `NaN` (number)'],
    [(server) => server.advance(Infinity), 'advance: expected milliseconds >= 0, got `Infinity` (number)'],
    [(server) => server.advance('5' as never), 'advance: expected milliseconds >= 0, got `5` (string)'],
    [
      (server) => server.advance(undefined as never),
      'advance: expected milliseconds >= 0, got `undefined` (undefined)',
    ],
  ])('refuse %s', async (call, text) => {
    await using server = testServer();
    const now = server.clock.now();
    expect(await thrownBy(() => call(server))).toEqual(invalid(text));
    expect(server.clock.now()).toBe(now);
    expect(await server.drain()).toBe(0);
  });

  it('refuse to go where no Date reaches, at once', async () => {
    await using server = testServer();
    expect(await thrownBy(() => server.advance(1e300))).toEqual(invalid(/^advance: /));
  });
});

describe('the logger', () => {
  it('prints errors by default, and nothing else', async () => {
    const printed: unknown[][] = [];
    for (const level of ['debug', 'info', 'log', 'warn', 'error'] as const)
      vi.spyOn(console, level).mockImplementation((...line) => void printed.push([level, ...line]));
    const error = new Error('no');
    try {
      await using server = testServer();
      server.handle(fails, (task) => {
        task.logger.info('said');
        throw error;
      });
      await server.send(fails());
      await server.drain();
      const fields = expect.objectContaining({ task: 'fails', err: error });
      expect(printed).toEqual([['error', expect.stringMatching(/^Task fails \(task_.*\) failed: no$/), fields]]);
    } finally {
      vi.restoreAllMocks();
    }
  });

  it('is the one that is given; undefined is none', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const error = vi.spyOn(console, 'error').mockImplementation(() => {});
    try {
      await using server = testServer({ logger: undefined } as never);
      server.handle(fails, () => {
        throw new Error('no');
      });
      await server.send(fails());
      await server.drain();
      expect(warn).not.toHaveBeenCalled();
      expect(error).toHaveBeenCalledTimes(1);
    } finally {
      vi.restoreAllMocks();
    }
  });
});

describe('closing', () => {
  it('stops workers of the code under test and periodic entries, and is safe twice', async () => {
    let running: TestServer;
    {
      await using server = testServer();
      running = server;
      server.registerTask('x', () => {});
      server.registerPeriodicTask('@every 1m', 'x', { name: 'x' });
      const worker = server.newWorker('own');
      await worker.start();
      await server.send({ name: 'x' }, { delayMs: 5 });
      await server.advance(60_000);
    }
    expect(running.periodic.entries()).toEqual([]);
    expect(await thrownBy(() => running.send({ name: 'x' }))).toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
    await running.close();
  });

  it('rejects whoever waits for a result, and is not needed for the process to end', async () => {
    const server = testServer();
    server.handle(fails, () => {});
    const result = await server.send(fails());
    const waiting = result.get().catch((error) => error.code);
    await server.close();
    expect(await waiting).toBe('ERR_MACHINERY_CLOSED');
  });

  it('leaves no timer behind after a drain, so that a forgotten close does not hold the process', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const before = timers();
    const server = testServer();
    server.handle(fails, () => {});
    server.registerPeriodicTask('@every 1m', 'x', fails());
    await server.send(fails(), { delayMs: 60_000 });
    await server.drain();
    await server.send(fails(), { delayMs: 60_000 });
    await server.advance(1);
    // The runner has timers of its own, which come and go.
    for (let tries = 0; timers() > before && tries < 100; tries++) await wait(1);
    expect(timers()).toBeLessThanOrEqual(before);
    await server.close();
  });
});

it('the options of workers are theirs: hooks are called', async () => {
  const seen: string[] = [];
  await using server = testServer({ worker: { preTaskHandler: ({ name }) => seen.push(name) } });
  server.registerTask('x', () => {});
  await server.send({ name: 'x' });
  await server.drain();
  expect(seen).toEqual(['x']);
});
