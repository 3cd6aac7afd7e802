// The end of periodic entries with their server, and the process that they keep alive until then.

import { describe, expect, it } from 'vitest';
import { gate, nextTurn } from '../server/setup.ts';
import { runProgramAt } from '../worker/child-program.ts';
import { scheduler } from './setup.ts';

const minutely = '* * * * *';

describe('closing the server', () => {
  it('ends all entries: nothing is sent any more, and no alarm is left', async () => {
    const test = scheduler();
    const entries = ['a', 'b'].map((name) => test.server.registerPeriodicTask(minutely, name, { name }));
    const paused = test.server.registerPeriodicTask(minutely, 'c', { name: 'c' });
    paused.pause();
    await test.server.close();
    expect(test.server.periodic.entries()).toEqual([]);
    expect(entries.map(({ next }) => next)).toEqual([undefined, undefined]);
    paused.resume();
    expect(test.clock.ringNext(Number.MAX_SAFE_INTEGER)).toBe(false);
    expect([test.sent(), test.lock.asked.items, test.logger.items]).toEqual([[], [], []]);
  });

  it('closes the lock, once', async () => {
    const test = scheduler();
    await Promise.all([test.server.close(), test.server.close()]);
    await test.server.close();
    expect(test.lock.closed).toBe(1);
  });

  it.each(['the lock', 'the function', 'the backend', 'the broker'])(
    'waits for a tick that waits for %s, which is sent; the lock is closed after that',
    async (what) => {
      const test = scheduler();
      const reached = gate();
      const { opened, open } = gate();
      const held = async <T>(name: string, next: () => T | Promise<T>): Promise<T> => {
        if (what === name) {
          reached.open();
          await opened;
        }
        return next();
      };
      test.lock.onAcquire = (next) => held('the lock', next);
      test.backend.onWrite = (_, next) => held('the backend', next);
      test.broker.onPublish = (_, next) => held('the broker', next);
      test.server.registerPeriodicTask(minutely, 'n', () => held('the function', () => ({ name: 'last' })));
      test.clock.ringNext(Number.MAX_SAFE_INTEGER);
      await reached.opened;
      let isClosed = false;
      const closing = test.server.close().then(() => {
        isClosed = true;
      });
      for (let i = 0; i < 5; i++) await nextTurn();
      expect([isClosed, test.lock.closed, test.sent()]).toEqual([false, 0, []]);
      open();
      await closing;
      expect(test.sent()).toMatchObject([{ name: 'last' }]);
      expect(test.lock.closed).toBe(1);
      expect(test.logger.texts('error')).toEqual([]);
    },
  );

  it('waits for all ticks that are under way', async () => {
    const test = scheduler();
    const { opened, open } = gate();
    test.broker.onPublish = async (_, next) => {
      await opened;
      return next();
    };
    for (const name of ['a', 'b', 'c']) test.server.registerPeriodicTask(minutely, name, { name });
    for (let i = 0; i < 3; i++) test.clock.ringNext(Number.MAX_SAFE_INTEGER);
    const closing = test.server.close();
    await nextTurn();
    open();
    await closing;
    expect(
      test
        .sent()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['a', 'b', 'c']);
  });

  it('at the end of `await using` ends the entries', async () => {
    const test = scheduler();
    {
      await using server = test.server;
      server.registerPeriodicTask(minutely, 'n', { name: 'n' });
    }
    expect(test.clock.ringNext(Number.MAX_SAFE_INTEGER)).toBe(false);
  });
});

describe('`settled`', () => {
  it('resolves at once when no tick is under way', async () => {
    const test = scheduler();
    test.server.registerPeriodicTask(minutely, 'n', { name: 'n' });
    await test.server.periodic.settled();
    expect(test.sent()).toEqual([]);
  });

  it('waits for ticks that become due meanwhile', async () => {
    const test = scheduler();
    const gates = [gate(), gate()];
    let asked = 0;
    test.lock.onAcquire = async (next) => {
      await gates[asked++]?.opened;
      return next();
    };
    test.server.registerPeriodicTask(minutely, 'n', { name: 'n' });
    test.clock.ringNext(Number.MAX_SAFE_INTEGER);
    const settled = test.server.periodic.settled();
    test.clock.ringNext(Number.MAX_SAFE_INTEGER);
    gates[0]?.open();
    await nextTurn();
    gates[1]?.open();
    await settled;
    expect(test.sent()).toHaveLength(1);
    expect(test.logger.texts('warn')).toEqual([
      expect.stringMatching(/is not sent: the lock has answered only when the next tick was due$/),
    ]);
  });
});

describe('a process with an entry', () => {
  const program = new URL('programs/entry.mjs', import.meta.url);

  it('lives until the server is closed, and then ends by itself', async () => {
    const { process: child, lines, errors, exit } = runProgramAt(program, '@every 1s', 'close');
    await lines.first((line) => line.startsWith('sent'));
    expect(child.exitCode).toBeNull();
    await lines.first((line) => line.startsWith('sent 2'));
    child.stdin?.end('end\n');
    expect({ ...(await exit), errors: errors.join('') }).toEqual({ code: 0, signal: null, errors: '' });
    expect(lines.items.at(-1)).toBe('ended');
    expect(lines.items[0]).toMatch(/^machinery_lock_entry\.mjsn@every 1s \d{10}999999999$/);
  });

  it('ends by itself when its only entry is removed or paused', async () => {
    for (const end of ['remove', 'pause']) {
      const { process: child, lines, exit } = runProgramAt(program, '0 0 1 1 *', end);
      await lines.first((line) => line === 'registered');
      child.stdin?.end('end\n');
      expect(await exit).toEqual({ code: 0, signal: null });
    }
  });

  it('whose tick is a year away lives on without anything else to do', async () => {
    const { lines, exit, process: child } = runProgramAt(program, '0 0 1 1 *', 'nothing');
    await lines.first((line) => line === 'idle');
    const ended = await Promise.race([exit, new Promise((resolve) => setTimeout(resolve, 300, 'alive'))]);
    expect(ended).toBe('alive');
    child.kill();
    expect(await exit).toEqual({ code: null, signal: 'SIGTERM' });
  });
});
