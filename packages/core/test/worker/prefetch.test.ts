// Messages that are taken ahead of the slots: when, how many, and what becomes of them when tasks are not quick any more.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Delivery, Settlement } from '../../src/broker.ts';
import type { WorkerOptions } from '../../src/worker.ts';
import { type Gate, gate, Journal, nextTurn } from './journal.ts';
import { ourMessage } from './messages.ts';
import { type TestServer, testServer } from './test-server.ts';

let test: TestServer;
/** Which tasks have begun, in order. */
let began: Journal<string>;
let running: number;
let most: number;
/** Lets the slow tasks end. */
let release: Gate;
/** How long tasks seem to take is up to the test. */
let now: number;

beforeEach(() => {
  now = 1_000;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  test = testServer();
  began = new Journal();
  [running, most] = [0, 0];
  release = gate();
  const begin = (name: string, n: number) => {
    most = Math.max(most, ++running);
    began.add(`${name} ${n}`);
  };
  test.server.registerTask('quick', (n: number) => {
    begin('quick', n);
    running--;
  });
  test.server.registerTask('brief', async (n: number) => {
    begin('brief', n);
    await undefined;
    running--;
  });
  test.server.registerTask('slow', async (n: number) => {
    begin('slow', n);
    await release.opened;
    running--;
  });
  test.server.registerTask('block', (n: number) => {
    begin('block', n);
    now += 50;
    running--;
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const named = (name: string, from: number, to: number) => numbers(from, to).map((n) => `${name} ${n}`);

/** What waits while this is called is taken together. */
async function put(...tasks: string[]): Promise<void> {
  await Promise.all(
    tasks.map((task) => {
      const [name = '', value] = task.split(' ');
      return test.broker.put(
        ourMessage({ name, uuid: `task_${task}`, args: [{ type: 'int64', value: Number(value) }] }),
      );
    }),
  );
}

function taskOf({ body }: Pick<Delivery, 'body'>): string {
  const { Name, Args } = JSON.parse(body) as { Name: string; Args: { Value: number }[] };
  return `${Name} ${Args[0]?.Value}`;
}

const waiting = async () => (await test.broker.pendingMessages('q', 10_000)).map((body) => taskOf({ body }));

type Requeue = Settlement & { kind: 'requeue' };
const requeues = (settled: readonly Settlement[]) =>
  settled.filter((settlement): settlement is Requeue => settlement.kind === 'requeue');
/** What was given back without having begun, in order. */
const givenBack = () =>
  requeues(test.broker.settled.items)
    .filter((settlement) => settlement.position === 'front' && settlement.begun !== true)
    .map(({ delivery }) => taskOf(delivery));
const untilGivenBack = (count: number) => test.broker.settled.until((settled) => requeues(settled).length >= count);

const wants = () => test.broker.wants.items;
const mostWanted = () => Math.max(...wants());

/** Resolves when the worker takes so many: tasks were quick. An exchange that waits was asked for before the last task began. */
async function warm(count: number): Promise<void> {
  while ((wants().at(-1) as number) < count - 1) {
    await put('quick 0');
    await test.broker.idle();
  }
}

/** A worker that takes two tasks and eight ahead of them. */
async function startWarm({ concurrency = 2, prefetch = 8 }: WorkerOptions = {}) {
  const worker = await test.startWorker({ concurrency, prefetch });
  await warm(concurrency + prefetch);
  began.items.length = 0;
  test.broker.settled.items.length = 0;
  return worker;
}

describe('while tasks are quick', () => {
  it.each(['quick', 'brief'])('more is asked for than there are slots, up to `prefetch`: %s', async (name) => {
    await put(...named(name, 1, 2_000));
    await test.startWorker({ concurrency: 3, prefetch: 20 });
    await test.broker.idle();
    expect(wants()[0]).toBe(3);
    expect(mostWanted()).toBeGreaterThan(10);
    expect(mostWanted()).toBeLessThanOrEqual(23);
    expect(most).toBeLessThanOrEqual(3);
    expect(began.items.toSorted()).toEqual(named(name, 1, 2_000).toSorted());
  });

  it.each([
    [4, 300],
    [290, 300],
    [1_000, 1_000],
  ])(
    'by default as many are taken ahead as make 300 with the slots: %i slots ask for %i',
    async (concurrency, wanted) => {
      await test.startWorker({ concurrency });
      await warm(wanted);
      await put(...named('quick', 1, 5_000));
      await test.broker.idle();
      expect(mostWanted()).toBe(wanted);
    },
  );

  it('what waits does not grow while states cannot be written', async () => {
    await startWarm();
    const write = gate();
    test.backend.onWrite = async (_, next) => {
      await write.opened;
      return next();
    };
    let inHand = 0;
    test.broker.onExchange = async (_, next) => {
      const taken = await next();
      inHand = Math.max(inHand, test.broker.inHand.size);
      return taken;
    };
    await put(...named('quick', 1, 100));
    await untilGivenBack(1);
    expect(began.items.length).toBeLessThanOrEqual(20);
    expect(inHand).toBeLessThanOrEqual(test.broker.consumed?.maxInHand as number);
    write.open();
    await began.until(({ length }) => length === 100);
    expect(began.items).toEqual(named('quick', 1, 100));
  });

  it('they run in the order of the queue, one at a time with concurrency 1', async () => {
    const tasks = numbers(1, 1_000).map((n) => `${n % 7 === 0 ? 'block' : n % 3 === 0 ? 'brief' : 'quick'} ${n}`);
    await put(...tasks);
    await test.startWorker({ concurrency: 1 });
    await test.broker.idle();
    expect(began.items).toEqual(tasks);
    expect(most).toBe(1);
    expect(mostWanted()).toBeGreaterThan(2);
  });
});

describe('when tasks are not quick any more', () => {
  it('what waits is given back soon, in its order and as new', async () => {
    await startWarm();
    await put(...named('slow', 1, 12));
    await began.until(({ length }) => length === 2);
    await untilGivenBack(8);
    expect(givenBack()).toEqual(named('slow', 3, 10));
    const other = await test.broker.memory.consume({ queue: 'q', tag: 'other', slots: 20, maxInHand: 20 });
    const taken = await other.exchange([], 20, new AbortController().signal);
    expect(taken.map(taskOf)).toEqual(named('slow', 3, 12));
    expect(taken.filter(({ redelivered, deliveryCount }) => redelivered || deliveryCount !== 1)).toEqual([]);
    expect(began.items).toEqual(named('slow', 1, 2));
  });

  it('other workers run it', async () => {
    await startWarm();
    await put(...named('slow', 1, 5));
    await began.until(({ length }) => length === 2);
    await test.startWorker({ concurrency: 10 });
    await began.until(({ length }) => length === 5);
    expect(began.items).toEqual(named('slow', 1, 5));
  });

  it('no exchange waits that would take what is given back once more', async () => {
    await startWarm();
    await put(...named('slow', 1, 5));
    await began.until(({ length }) => length === 2);
    await untilGivenBack(3);
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(await waiting()).toEqual(named('slow', 3, 5));
    await put('slow 6');
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(await waiting()).toEqual(named('slow', 3, 6));
    expect(givenBack()).toEqual(named('slow', 3, 5));
  });

  it('it is asked for what there are slots for, and no more', async () => {
    await startWarm();
    await put(...named('slow', 1, 12));
    await untilGivenBack(8);
    const before = wants().length;
    release.open();
    await began.until(({ length }) => length >= 4);
    expect(wants()[before]).toBeLessThanOrEqual(2);
    await test.broker.idle();
    expect(began.items).toEqual(named('slow', 1, 12));
  });

  it.each(['slow', 'quick'])('a task that blocks the event loop leaves what there are slots for: %s', async (name) => {
    await startWarm();
    await put('block 0', ...named(name, 1, 9));
    await untilGivenBack(7);
    expect(began.items.slice(0, 3)).toEqual(['block 0', ...named(name, 1, 2)]);
    expect(givenBack()).toEqual(named(name, 3, 9));
    release.open();
    await test.broker.idle();
    expect(began.items).toEqual(['block 0', ...named(name, 1, 9)]);
  });

  it('what comes with an answer that was on its way runs after what was given back', async () => {
    const answer = gate();
    test.broker.onExchange = async (_, next) => {
      const taken = await next();
      if (taken.some((delivery) => taskOf(delivery) === 'brief 4')) await answer.opened;
      return taken;
    };
    await startWarm({ concurrency: 1, prefetch: 4 });
    await put('slow 1', 'brief 2', 'brief 3');
    await began.until(({ length }) => length === 1);
    await put('brief 4'); // for the exchange that waits
    await untilGivenBack(2);
    answer.open();
    await nextTurn();
    release.open();
    await began.until(({ length }) => length === 4);
    expect(began.items).toEqual(['slow 1', 'brief 2', 'brief 3', 'brief 4']);
  });
});

describe('what waits is given back at once', () => {
  /** Two that run, and eight that wait: no timer fires by itself. */
  async function startFull() {
    const worker = await startWarm();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    await put(...named('slow', 1, 10));
    await began.until(({ length }) => length === 2);
    await nextTurn();
    expect(await waiting()).toEqual([]);
    return worker;
  }
  /** Settlements wait so long for a take to ride along with. */
  const rideAlong = () => vi.advanceTimersByTimeAsync(5);

  it('or, if nothing happens, after 10 ms', async () => {
    await startFull();
    await vi.advanceTimersByTimeAsync(9);
    await rideAlong();
    expect(givenBack()).toEqual([]);
    await rideAlong();
    expect(givenBack()).toEqual(named('slow', 3, 10));
  });

  it('by pause(), and taken again in order after resume()', async () => {
    const worker = await startFull();
    worker.pause();
    await rideAlong();
    expect(givenBack()).toEqual(named('slow', 3, 10));
    expect(await waiting()).toEqual(named('slow', 3, 10));
    vi.useRealTimers();
    release.open();
    worker.resume();
    await test.broker.idle();
    expect(began.items).toEqual(named('slow', 1, 10));
  });

  it('by quit(), which waits for what runs', async () => {
    const worker = await startFull();
    const quit = worker.quit();
    await rideAlong();
    expect(givenBack()).toEqual(named('slow', 3, 10));
    release.open();
    await quit;
    expect(await waiting()).toEqual(named('slow', 3, 10));
    expect(began.items).toEqual(named('slow', 1, 2));
  });

  it('by an abort, with what runs: only that comes as a redelivery', async () => {
    const worker = await startFull();
    await worker.quit({ timeoutMs: 0 });
    expect(givenBack()).toEqual(named('slow', 3, 10));
    const other = await test.broker.memory.consume({ queue: 'q', tag: 'other', slots: 20, maxInHand: 20 });
    const taken = await other.exchange([], 20, new AbortController().signal);
    expect(taken.map((delivery) => [taskOf(delivery), delivery.redelivered])).toEqual(
      numbers(1, 10).map((n) => [`slow ${n}`, n <= 2]),
    );
    await other.close();
  });
});

describe('none is taken ahead', () => {
  const many = named('quick', 1, 500);

  it('with `prefetch` 0, never more than the free slots', async () => {
    const wanted: [want: number, free: number][] = [];
    test.broker.onExchange = (_, next) => {
      wanted.push([wants().at(-1) as number, 3 - running]);
      return next();
    };
    test.server.registerTask('turn', async (n: number) => {
      running++;
      for (let i = 0; i < n % 4; i++) await nextTurn();
      running--;
    });
    await put(...many, ...named('turn', 1, 200));
    await test.startWorker({ concurrency: 3, prefetch: 0 });
    await test.broker.idle();
    expect(wanted.filter(([want, free]) => want > free)).toEqual([]);
    expect(givenBack()).toEqual([]);
  });

  it('with a preConsumeHandler', async () => {
    await put(...many);
    await test.startWorker({ concurrency: 3, prefetch: 20, preConsumeHandler: () => true });
    await test.broker.idle();
    expect(mostWanted()).toBe(3);
  });

  it('of a broker that pushes', async () => {
    Object.assign(test.broker, { capabilities: { ...test.broker.capabilities, pushes: true } });
    await put(...many);
    await test.startWorker({ concurrency: 3, prefetch: 20 });
    await test.broker.idle();
    expect(mostWanted()).toBe(3);
    expect(test.broker.consumed?.maxInHand).toBe(6);
  });

  it('of an eager broker, whose slots have no end', async () => {
    Object.assign(test.broker, { capabilities: { ...test.broker.capabilities, eager: true } });
    await test.startWorker({ concurrency: 3, prefetch: 20 });
    expect(test.broker.consumed).toMatchObject({
      slots: Number.POSITIVE_INFINITY,
      maxInHand: Number.POSITIVE_INFINITY,
    });
    expect(wants()).toEqual([Number.POSITIVE_INFINITY]);
  });

  it('while redeliveries come, which may end the process', async () => {
    test.broker.onExchange = async (_, next) => markRedelivered(await next());
    await put(...many);
    await test.startWorker({ concurrency: 3, prefetch: 20 });
    await test.broker.idle();
    expect(mostWanted()).toBe(3);
  });

  it('after a batch with one redelivery', async () => {
    let isMarked = false;
    test.broker.onExchange = async (_, next) => {
      const taken = await next();
      return isMarked && taken.length > 1
        ? [...taken.slice(0, 1), ...markRedelivered(taken.slice(1, 2)), ...taken.slice(2)]
        : taken;
    };
    await startWarm();
    isMarked = true;
    const before = wants().length;
    await put(...named('quick', 1, 30));
    await test.broker.idle();
    expect(Math.max(...wants().slice(before, before + 2))).toBeLessThanOrEqual(3);
    expect(began.items.toSorted()).toEqual(named('quick', 1, 30).toSorted());
  });
});

function markRedelivered(deliveries: readonly Delivery[]): Delivery[] {
  return deliveries.map((delivery) => Object.assign(delivery, { redelivered: true }));
}
