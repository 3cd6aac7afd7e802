// `drain`: everything there is to do, and what comes of it. Time is the server's: nothing here waits for a delay.

import { setTimeout as wait } from 'node:timers/promises';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { chain, chord, defineTask, group, int64, RetryLater, rest, string } from '../../src/index.ts';
import { type TestServer, testServer } from '../../src/testing/index.ts';
import { RecordingLogger } from '../worker/recording-logger.ts';

const start = Date.parse('2027-01-01T00:00:00Z');
const add = defineTask('add', { args: rest(int64), returns: int64 });
const work = defineTask('work', { args: [string], returns: string });

let server: TestServer;
let logger: RecordingLogger;
/** What ran, in order, with the seconds that the clock had gone. */
let ran: [string, number][];
beforeEach(() => {
  logger = new RecordingLogger();
  server = testServer({ now: new Date(start), logger });
  onTestFinished(() => server.close());
  ran = [];
  server.handle(add, (_task, ...terms) => terms.reduce((a, b) => a + b, 0));
});
const seconds = () => (server.clock.now() - start) / 1_000;
const note = (name: string) => ran.push([name, seconds()]);
const handleWork = () =>
  server.handle(work, (_task, name) => {
    note(name);
    return name;
  });

describe('what there is to do', () => {
  it('is nothing at first', async () => {
    expect(await server.drain()).toBe(0);
    expect(server.clock.now()).toBe(start);
  });

  it('runs only while it is awaited, and is counted', async () => {
    handleWork();
    const result = await server.send(work('a'));
    await wait(20);
    expect(ran).toEqual([]);
    expect(await result.touch()).toEqual({ done: false });
    expect(await server.drain()).toBe(1);
    expect(await result.get()).toBe('a');
    expect(await server.drain()).toBe(0);
  });

  it('is more than a worker holds', async () => {
    const sent = await Promise.all(Array.from({ length: 500 }, (_, i) => server.send(add(i))));
    expect(await server.drain()).toBe(500);
    expect(await Promise.all(sent.map((result) => result.get()))).toEqual(sent.map((_, i) => i));
  });

  it('runs ten at once, or as many as `concurrency` of the workers says', async () => {
    for (const [options, expected] of [
      [{}, 10],
      [{ worker: { concurrency: 3 } }, 3],
      [{ worker: { concurrency: 1 } }, 1],
    ] as const) {
      await using own = testServer(options);
      let running = 0;
      let most = 0;
      own.registerTask('busy', async () => {
        most = Math.max(most, ++running);
        await wait(1);
        running--;
      });
      for (let i = 0; i < 25; i++) await own.send({ name: 'busy' });
      expect(await own.drain()).toBe(25);
      expect(most).toBe(expected);
    }
  });

  it('is in several queues, also those that tasks send to first', async () => {
    handleWork();
    const passOn = defineTask('pass_on', { queue: 'first' });
    server.handle(passOn, async () => {
      await server.send(work('last'), { queue: 'third' });
    });
    await server.send(passOn());
    await server.send(work('a'), { queue: 'second' });
    expect(await server.drain()).toBe(3);
    expect(ran.map(([name]) => name).sort()).toEqual(['a', 'last']);
  });

  it('takes as long as a task takes in real time', async () => {
    server.handle(work, async (_task, name) => {
      await wait(30);
      return name;
    });
    const result = await server.send(work('slow'));
    expect(await server.drain()).toBe(1);
    expect(await result.get()).toBe('slow');
    expect(server.clock.now()).toBe(start);
  });

  it('may be awaited again and again', async () => {
    for (let i = 0; i < 50; i++) {
      const result = await server.send(add(i));
      expect(await server.drain()).toBe(1);
      expect(await result.get()).toBe(i);
    }
  });
});

describe('delays', () => {
  it('are jumped over, in the order of time', async () => {
    handleWork();
    await server.send(work('c'), { delayMs: 86_400_000 });
    await server.send(work('b'), { eta: new Date(start + 5_000) });
    await server.send(work('a'));
    expect(await server.drain()).toBe(3);
    expect(ran).toEqual([
      ['a', 0],
      ['b', 5],
      ['c', 86_400],
    ]);
  });

  it('that begin while others are jumped over are kept', async () => {
    server.handle(work, async (_task, name) => {
      note(name);
      if (name === 'a') await server.send(work('b'), { delayMs: 3_000 });
      return name;
    });
    await server.send(work('c'), { delayMs: 10_000 });
    await server.send(work('a'), { delayMs: 1_000 });
    expect(await server.drain()).toBe(3);
    expect(ran).toEqual([
      ['a', 1],
      ['b', 4],
      ['c', 10],
    ]);
  });

  it('of months leave results where they are', async () => {
    handleWork();
    const result = await server.send(work('a'), { delayMs: 100 * 86_400_000 });
    await server.drain();
    expect(await result.get()).toBe('a');
  });

  it('of two at the same time go together', async () => {
    handleWork();
    await server.send(work('a'), { delayMs: 1_000 });
    await server.send(work('b'), { delayMs: 1_000, queue: 'other' });
    expect(await server.drain()).toBe(2);
    expect(ran.map(([, second]) => second)).toEqual([1, 1]);
  });
});

describe('retries', () => {
  const handleFailing = (times: number) =>
    server.handle(work, (task, name) => {
      note(`${name}${task.attempt}`);
      if (task.attempt <= times) throw new Error(`no ${task.attempt}`);
      return name;
    });

  it("wait as Go's do: 1, 2, 3 s, on the server's clock", async () => {
    handleFailing(3);
    const before = performance.now();
    const result = await server.send(work('x'), { retries: 3 });
    expect(await server.drain()).toBe(4);
    expect(ran).toEqual([
      ['x1', 0],
      ['x2', 1],
      ['x3', 3],
      ['x4', 6],
    ]);
    expect(await result.get()).toBe('x');
    expect(performance.now() - before).toBeLessThan(3_000);
  });

  it('wait by a backoff of the send, and by that of the handler', async () => {
    handleFailing(2);
    await server.send(work('x'), { retries: 2, backoff: { delayMs: 60_000, factor: 10 } });
    expect(await server.drain()).toBe(3);
    expect(ran).toEqual([
      ['x1', 0],
      ['x2', 60],
      ['x3', 660],
    ]);
    const later = defineTask('later', { retries: 1 });
    server.handle(
      later,
      (task) => {
        note(`later${task.attempt}`);
        throw new Error('no');
      },
      { backoff: (attempt) => attempt * 5_000 },
    );
    await server.send(later());
    expect(await server.drain()).toBe(2);
    expect(ran.slice(-2)).toEqual([
      ['later1', 660],
      ['later2', 665],
    ]);
  });

  it('that are used up are a FAILURE, which is no error of drain', async () => {
    handleFailing(9);
    const result = await server.send(work('x'), { retries: 1 });
    expect(await server.drain()).toBe(2);
    await expect(result.get()).rejects.toMatchObject({ code: 'ERR_MACHINERY_TASK_FAILED', message: 'no 2' });
    expect(logger.texts('error')).toEqual([expect.stringMatching(/^Task work \(task_.*\) failed: no 2$/)]);
  });

  it('by RetryLater too', async () => {
    server.handle(work, (task, name) => {
      note(name);
      if (task.attempt < 4) throw new RetryLater(90_000);
      return name;
    });
    await server.send(work('x'));
    expect(await server.drain()).toBe(4);
    expect(ran.map(([, second]) => second)).toEqual([0, 90, 180, 270]);
  });
});

describe('workflows', () => {
  it('run to their ends: chains, groups, chords, nested', async () => {
    const sum = await server.send(chain(add(1), add.partial(2), add.partial(3)));
    const all = await server.send(group([add(1, 1), add(2, 2)]));
    const total = await server.send(chord([add(1, 1), add(2, 2)], add.partial(100)));
    const nested = await server.send(chain(add(1), chord([add.partial(2), add.partial(10)], add.partial())));
    expect(await server.drain()).toBe(3 + 2 + 3 + 4);
    expect(await sum.get()).toBe(6);
    expect(await all.get()).toEqual([2, 4]);
    expect(await total.get()).toBe(106);
    expect(await nested.get()).toBe(14);
  });

  it('with members that are tried again, and delayed ones', async () => {
    const flaky = defineTask('flaky', { args: [int64], returns: int64, retries: 2 });
    server.handle(flaky, (task, n) => {
      if (task.attempt < 3) throw new Error('no');
      return n;
    });
    const total = await server.send(chord([flaky(1), flaky(2), add(3).with({ delayMs: 7_200_000 })], add.partial(100)));
    expect(await server.drain()).toBe(3 + 3 + 1 + 1);
    expect(await total.get()).toBe(106);
    expect(seconds()).toBe(7_200);
  });

  it('whose member fails fail, with their callbacks', async () => {
    const fails = defineTask('fails', { returns: int64 });
    server.handle(fails, () => {
      throw new Error('no');
    });
    const told: string[] = [];
    server.handle(work, (_task, text) => {
      told.push(text);
      return text;
    });
    const total = await server.send(chord([add(1), fails()], add.partial().with({ onError: [work.partial()] })));
    await server.drain();
    await expect(total.get()).rejects.toThrow('no');
    expect(told).toHaveLength(1);
  });

  it('of a hundred members', async () => {
    const total = await server.send(
      chord(
        Array.from({ length: 100 }, (_, i) => add(i)),
        add.partial(),
      ),
    );
    expect(await server.drain()).toBe(101);
    expect(await total.get()).toBe(4_950);
  });
});

describe('tasks that send tasks', () => {
  it.each(['awaited', 'not awaited'])('%s, to any depth', async (how) => {
    const countdown = defineTask('countdown', { args: [int64] });
    server.handle(countdown, async (_task, n) => {
      note(`${n}`);
      if (n === 0) return;
      const sent = server.send(countdown(n - 1));
      if (how === 'awaited') await sent;
    });
    await server.send(countdown(20));
    expect(await server.drain()).toBe(21);
    expect(ran.at(-1)).toEqual(['0', 0]);
  });

  it('and workflows, not awaited', async () => {
    server.handle(work, (_task, name) => {
      void server.send(chord([add(1), add(2)], add.partial(3)));
      return name;
    });
    await server.send(work('a'));
    expect(await server.drain()).toBe(4);
  });

  it('and wait for them', async () => {
    const parent = defineTask('parent', { returns: int64 });
    server.handle(parent, async () => {
      const sums = await server.send(group([add(1, 2), add(3, 4)]));
      const [a, b] = await sums.get();
      return (await server.send(add(a as number, b as number))).get();
    });
    const result = await server.send(parent());
    expect(await server.drain()).toBe(4);
    expect(await result.get()).toBe(10);
  });

  it('to a queue that is new, some time after they have begun, and wait for them', async () => {
    const parent = defineTask('parent', { returns: int64 });
    server.handle(parent, async () => {
      await wait(20);
      return (await server.send(add(1, 2), { queue: 'new' })).get();
    });
    const result = await server.send(parent());
    expect(await server.drain({ timeoutMs: 500 })).toBe(2);
    expect(await result.get()).toBe(3);
  });
});

describe('a worker of the code under test', () => {
  it('runs tasks beside drain', async () => {
    handleWork();
    const worker = server.newWorker('own', { queue: 'mails' });
    await worker.start();
    const first = await server.send(work('a'), { queue: 'mails' });
    expect(await first.get({ timeoutMs: 1_000 })).toBe('a'); // at once, as it does elsewhere
    await server.send(work('b'), { queue: 'mails', delayMs: 60_000 });
    await server.send(work('c'));
    await server.drain();
    expect(ran).toEqual([
      ['a', 0],
      ['c', 0],
      ['b', 60],
    ]);
    await worker.quit();
    await server.send(work('d'), { queue: 'mails' });
    expect(await server.drain()).toBe(1);
  });

  it('is waited for while it runs a task', async () => {
    server.handle(work, async (_task, name) => {
      await wait(30);
      note(name);
      return name;
    });
    await server.newWorker('own').start();
    await server.send(work('a'));
    await wait(5);
    await server.drain();
    expect(ran).toEqual([['a', 0]]);
  });
});

describe('the results of what ran', () => {
  it('are there for as long as a test may advance', async () => {
    const result = await server.send(add(1, 2));
    await server.drain();
    await server.advance(365 * 86_400_000);
    expect(await server.result(result.uuid, add).get()).toBe(3);
  });

  it('expire after `resultsExpireInSeconds`', async () => {
    server = testServer({ resultsExpireInSeconds: 10 });
    server.handle(add, () => 1);
    const result = await server.send(add(1));
    await server.drain();
    await server.advance(11_000);
    await expect(result.get()).rejects.toMatchObject({ code: 'ERR_MACHINERY_RESULT_EXPIRED' });
  });

  it('are found by UUID, for what the code under test has sent', async () => {
    await server.send(add(1, 2));
    await server.drain();
    const [sent] = server.sent(add);
    expect(await server.result(sent?.uuid as string, add).get()).toBe(3);
  });
});

it('two servers know nothing of each other', async () => {
  await using other = testServer({ now: new Date(0) });
  other.handle(work, (_task, name) => `other ${name}`);
  handleWork();
  const [here, there] = [await server.send(work('a')), await other.send(work('a'), { delayMs: 5_000 })];
  expect(await Promise.all([server.drain(), other.drain()])).toEqual([1, 1]);
  expect([await here.get(), await there.get()]).toEqual(['a', 'other a']);
  expect(server.clock.now()).toBe(start);
  expect(other.clock.now()).toBe(5_000);
  expect(server.sent()).toHaveLength(1);
});

describe('code that waits for results itself', () => {
  const route = async () => {
    await wait(20); // something else first, such as a look into a database
    return (await server.send(add(1, 2))).get();
  };

  it('is drained until it has settled', async () => {
    const answered = route();
    expect(await server.drain({ until: answered })).toBe(1);
    expect(await answered).toBe(3);
  });

  it('may settle before, without a task, and may reject, which is left to the test', async () => {
    expect(await server.drain({ until: Promise.resolve() })).toBe(0);
    const rejected = Promise.reject(new Error('no'));
    expect(await server.drain({ until: rejected })).toBe(0);
    await expect(rejected).rejects.toThrow('no');
  });

  it('that never settles is named', async () => {
    await expect(server.drain({ until: new Promise(() => {}), timeoutMs: 30 })).rejects.toMatchObject({
      code: 'ERR_MACHINERY_NOT_DRAINED',
      message: expect.stringMatching(/^Nothing has been sent for 30 ms, and `until` has not settled/),
    });
  });
});
