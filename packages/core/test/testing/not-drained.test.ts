// What `drain` and `advance` refuse to wait for, and that the server is of use after that.

import { setTimeout as wait } from 'node:timers/promises';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { defineTask, int64, RetryLater, string } from '../../src/index.ts';
import { type TestServer, testServer } from '../../src/testing/index.ts';
import { errorLike, gate, Journal, thrownBy } from '../server/setup.ts';
import { RecordingLogger } from '../worker/recording-logger.ts';

const work = defineTask('work', { args: [string] });
const resize = defineTask('resize', { args: [string], queue: 'images' });
const notDrained = (text: string | RegExp) => errorLike('ERR_MACHINERY_NOT_DRAINED', text);

let server: TestServer;
let logger: RecordingLogger;
let ran: string[];
beforeEach(() => {
  logger = new RecordingLogger();
  server = testServer({ logger });
  onTestFinished(() => server.close());
  ran = [];
});
const handleWork = (of = server) => of.handle(work, (_task, name) => void ran.push(name));

describe('a task that never ends', () => {
  const stuck = (...names: string[]) =>
    notDrained(
      new RegExp(
        `^Nothing has ended for 30 ms, still running: ${names.join(', ')}\\. Does it wait for a promise that never settles, or ` +
          'for a task that has no free slot.*\\? Let it have more time with `timeoutMs`$',
      ),
    );

  it('is named, and its signal fires', async () => {
    let aborted: unknown;
    server.registerTask('stuck', () => new Promise(() => {}));
    server.handle(work, (task) => {
      task.signal.addEventListener('abort', () => {
        aborted = task.signal.reason;
      });
      return new Promise(() => {});
    });
    await server.send(work('a'));
    await server.send(work('b'));
    await server.send({ name: 'stuck' });
    expect(await thrownBy(() => server.drain({ timeoutMs: 30 }))).toEqual(stuck('work', 'stuck'));
    expect(aborted).toMatchObject({ code: 'ERR_MACHINERY_ABORTED' });
  });

  it('is one that waits for a task without a free slot', async () => {
    server = testServer({ worker: { concurrency: 1 }, logger });
    server.registerTask('child', () => 1);
    server.registerTask('parent', async () => (await server.send({ name: 'child' })).get());
    await server.send({ name: 'parent' });
    expect(await thrownBy(() => server.drain({ timeoutMs: 30 }))).toEqual(stuck('parent'));
    await server.close();
  });

  it('is one that waits for a delayed task, and the text says that the clock stands still for it', async () => {
    server.registerTask('child', () => 1);
    server.registerTask('parent', async () =>
      (await server.send({ name: 'child', eta: new Date(server.clock.now() + 60_000) })).get(),
    );
    await server.send({ name: 'parent' });
    expect(await thrownBy(() => server.drain({ timeoutMs: 30 }))).toEqual(notDrained(/delayed|tried again|clock/));
  });

  it('has `timeoutMs` after the last one that has ended', async () => {
    server = testServer({ worker: { concurrency: 1 }, logger });
    server.handle(work, async () => {
      await wait(120);
    });
    for (const name of ['a', 'b', 'c', 'd', 'e']) await server.send(work(name));
    expect(await server.drain({ timeoutMs: 450 })).toBe(5);
    await server.close();
  });

  it('stays in its queue, and runs again with the next drain', async () => {
    const hold = gate();
    let calls = 0;
    server.handle(work, async (_task, name) => {
      if (++calls === 1) await hold.opened;
      ran.push(name);
    });
    const result = await server.send(work('a'));
    expect(await thrownBy(() => server.drain({ timeoutMs: 20 }))).toEqual(notDrained(/^Nothing has ended for 20 ms/));
    expect(await server.pendingTasks()).toHaveLength(1);
    expect(await server.drain()).toBe(1);
    expect(ran).toEqual(['a']);
    await result.get({ timeoutMs: 1_000 });
    hold.open();
  });

  it('of the code that makes what a periodic entry sends, is one too, and does not hold up the close', async () => {
    {
      await using hung = testServer({ logger });
      hung.registerPeriodicTask('@every 1m', 'stuck', () => new Promise<never>(() => {}));
      expect(await thrownBy(() => hung.advance(60_000, { timeoutMs: 30 }))).toEqual(notDrained(/periodic/));
    }
    expect(logger.texts('error')).toEqual([
      expect.stringMatching(/The server was closed, and its lock or the function/),
    ]);
  }, 4_000);

  it('is not the code of a periodic entry that waits for a task', async () => {
    server.registerTask('names', () => 'Ada');
    server.registerPeriodicTask('@every 1m', 'asks', async () => {
      const names = await server.send({ name: 'names', routingKey: 'new' });
      return work(String(await names.get()));
    });
    handleWork();
    expect(await server.advance(60_000)).toBe(2);
    expect(ran).toEqual(['Ada']);
  });

  it('is one that waits for a task without a handler, which is named', async () => {
    server.registerTask('parent', async () => (await server.send({ name: 'nobody' })).get());
    await server.send({ name: 'parent' });
    expect(await thrownBy(() => server.drain({ timeoutMs: 30 }))).toEqual(notDrained(/or has no handler \(nobody\)\?/));
  });
});

describe('tasks without an end', () => {
  /** A few more than `maxTasks` run, as ten run at once. */
  const endless = (maxTasks: number, ...names: string[]) =>
    notDrained(
      new RegExp(
        `^${String(maxTasks).slice(0, -2)}\\d\\d attempts ran and there is still work, of late: ${names.join(', ')}\\. Does it send or retry ` +
          'itself for ever\\? Allow more with `maxTasks`$',
      ),
    );

  it('are those that send themselves', async () => {
    server.handle(work, async () => {
      await server.send(work('again'));
    });
    await server.send(work('first'));
    expect(await thrownBy(() => server.drain({ maxTasks: 100 }))).toEqual(endless(100, 'work'));
  });

  it('are those that send two of themselves each time', async () => {
    server.handle(work, async () => {
      await Promise.all([server.send(work('a')), server.send(work('b'))]);
    });
    await server.send(work('first'));
    expect(await thrownBy(() => server.drain({ maxTasks: 500 }))).toEqual(endless(500, 'work'));
  });

  it('are those that throw RetryLater for ever, 10,000 times by default', async () => {
    server.handle(work, () => {
      throw new RetryLater(1_000);
    });
    await server.send(work('first'));
    const started = server.clock.now();
    expect(await thrownBy(() => server.drain())).toEqual(endless(10_000, 'work'));
    expect(server.clock.now() - started).toBeGreaterThanOrEqual(10_000_000 - 10_000);
  }, 20_000);

  it('are not the last ones, though they are more than `maxTasks`: nothing is left', async () => {
    handleWork();
    for (let i = 0; i < 10; i++) await server.send(work(`${i}`));
    expect(await server.drain({ maxTasks: 9 })).toBe(10);
  });

  it('are not as many as `maxTasks` allows', async () => {
    handleWork();
    for (const name of ['a', 'b', 'c']) await server.send(work(name));
    expect(await server.drain({ maxTasks: 3 })).toBe(3);
  });

  it('are not the attempts of the drain before', async () => {
    handleWork();
    for (let i = 0; i < 3; i++) {
      for (const name of ['a', 'b']) await server.send(work(name));
      expect(await server.drain({ maxTasks: 2 })).toBe(2);
    }
  });

  it('wait for the next drain', async () => {
    let stop = false;
    server.handle(work, async (_task, name) => {
      if (stop) ran.push(name);
      else await server.send(work('again'));
    });
    await server.send(work('first'));
    await thrownBy(() => server.drain({ maxTasks: 50 }));
    stop = true;
    await server.drain();
    expect(ran.length).toBeGreaterThanOrEqual(1);
    expect(await server.pendingTasks()).toEqual([]);
  });
});

describe('tasks without a handler', () => {
  const unhandled = (...names: string[]) =>
    notDrained(
      `Tasks without a handler are left: ${names.join(', ')}. Register them with \`handle\`, or make the server with ` +
        '`testServer({ leaveUnhandled: true })` when another program runs them',
    );

  it('are named once everything else has run, each once', async () => {
    handleWork();
    await server.send(resize('a.png'));
    await server.send(resize('b.png'));
    await server.send({ name: 'other' });
    await server.send(work('a'));
    expect(await thrownBy(() => server.drain())).toEqual(unhandled('resize', 'other'));
    expect(ran).toEqual(['a']);
  });

  it('are found by advance too, also when they have been delayed', async () => {
    await server.send(resize('a.png'), { delayMs: 1_000 });
    expect(await server.advance(999)).toBe(0);
    expect(await thrownBy(() => server.advance(1))).toEqual(unhandled('resize'));
  });

  it('stay where they are, and run once they have one, as if they had never been delivered', async () => {
    await server.send(resize('a.png'));
    await server.send(resize('b.png'));
    for (let i = 0; i < 30; i++) expect(await thrownBy(() => server.drain())).toEqual(unhandled('resize'));
    const deliveries: (readonly [string, number])[] = [];
    server.handle(resize, (task, file) => void deliveries.push([file, task.attempt]));
    expect(await server.drain()).toBe(2);
    expect(deliveries).toEqual([
      ['a.png', 1],
      ['b.png', 1],
    ]);
    expect(logger.texts('error')).toEqual([]);
  });

  it('are left without an error when another program runs them', async () => {
    server = testServer({ leaveUnhandled: true, logger });
    handleWork();
    await server.send(resize('a.png'), { delayMs: 60_000 });
    await server.send(work('a'));
    expect(await server.drain()).toBe(1);
    expect(await server.pendingTasks('images')).toMatchObject([{ name: 'resize' }]);
    expect(server.sent(resize)).toMatchObject([{ args: ['a.png'] }]);
    expect(await server.drain()).toBe(0);
    server.handle(resize, (_task, file) => void ran.push(file));
    expect(await server.drain()).toBe(1);
    expect(ran).toEqual(['a', 'a.png']);
    await server.close();
  });

  it('do not hold up those behind them in the queue', async () => {
    server = testServer({ leaveUnhandled: true, worker: { concurrency: 2 }, logger });
    handleWork();
    for (let i = 0; i < 50; i++) await server.send({ name: 'other' });
    await server.send(work('last'));
    expect(await server.drain()).toBe(1);
    expect(await server.pendingTasks()).toHaveLength(50);
    await server.close();
  });

  it('may be the middle of a chain, which waits for the other program', async () => {
    server = testServer({ leaveUnhandled: true, logger });
    const first = defineTask('first', { returns: string });
    server.handle(first, () => 'a.png');
    await server.send(first(), { onSuccess: [resize.partial()] });
    expect(await server.drain()).toBe(1);
    expect(server.sent(resize)).toMatchObject([{ args: ['a.png'] }]);
    await server.close();
  });

  it('are named also when a worker of the code under test has the queue', async () => {
    handleWork();
    await server.newWorker('own').start();
    await server.send({ name: 'other' });
    expect(await thrownBy(() => server.drain())).toEqual(unhandled('other'));
  });

  it('are dropped when they ask for it, as a worker does', async () => {
    await server.send({ name: 'other', ignoreWhenTaskNotRegistered: true });
    await server.drain();
    expect(await server.pendingTasks()).toEqual([]);
  });
});

describe('while the server is being drained', () => {
  it.each(['drain', 'advance'] as const)('%s is refused, in a task and beside it', async (method) => {
    const text = `${method} was called while the server is being drained: await the call before`;
    const again = () => (method === 'drain' ? server.drain() : server.advance(1));
    let inside: unknown;
    server.handle(work, async () => {
      inside = await thrownBy(again);
    });
    await server.send(work('a'));
    const drained = server.drain();
    expect(await thrownBy(again)).toEqual(notDrained(text));
    expect(await drained).toBe(1);
    expect(inside).toEqual(notDrained(text));
  });

  it('closing it ends it soon, after the tasks that run, and says why', async () => {
    const hold = gate();
    const started = new Journal<string>();
    server.handle(work, async (_task, name) => {
      started.add(name);
      await hold.opened;
      ran.push(name);
    });
    for (let i = 0; i < 15; i++) await server.send(work(`${i}`));
    const drained = thrownBy(() => server.drain({ timeoutMs: 2_000 }));
    await started.until((names) => names.length === 10);
    const before = performance.now();
    const closed = server.close();
    hold.open();
    await closed;
    expect(await drained).toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
    expect(performance.now() - before).toBeLessThan(1_500);
    expect(ran).toHaveLength(10);
  });
});

it('it works again after each of these errors', async () => {
  const loops = defineTask('loops', { args: [int64] });
  let mode: 'stuck' | 'endless' | 'good' = 'stuck';
  server.handle(loops, async (_task, n) => {
    if (mode === 'stuck') await new Promise(() => {});
    if (mode === 'endless') await server.send(loops(n + 1));
  });
  await server.send(loops(0));
  expect(await thrownBy(() => server.drain({ timeoutMs: 20 }))).toEqual(notDrained(/^Nothing has ended/));
  mode = 'endless';
  expect(await thrownBy(() => server.drain({ maxTasks: 10 }))).toEqual(notDrained(/^\d\d attempts ran/));
  mode = 'good';
  expect(await server.drain()).toBeGreaterThanOrEqual(1);
  expect(await server.drain()).toBe(0);
  expect(await server.pendingTasks()).toEqual([]);
});

it('after close, drain and advance say that the server is closed', async () => {
  handleWork();
  await server.send(work('a'));
  await server.close();
  expect(await thrownBy(() => server.drain())).toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
  expect(await thrownBy(() => server.advance(1))).toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
});

it('whoever waits for a result before anything can run is told why, once', async () => {
  handleWork();
  const result = await server.send(work('a'));
  const waits = [thrownBy(() => result.get({ timeoutMs: 1_500 })), thrownBy(() => result.get({ timeoutMs: 1_500 }))];
  await Promise.all(waits);
  const text = 'A test waits for a result while no task can run: await `drain` or `advance` before `get`';
  expect(logger.texts('error')).toEqual([text]);
  await server.drain();
  await result.get();
});
