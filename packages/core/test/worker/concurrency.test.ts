// How many tasks run at once, and from which queue.

import { beforeEach, describe, expect, it } from 'vitest';
import { type Gate, gate, Journal, nextTurn } from './journal.ts';
import { type TestServer, testServer } from './test-server.ts';

let test: TestServer;
let running: number;
let most: number;
let ran: number;
let started: Journal<number>;
let release: Gate;
beforeEach(() => {
  test = testServer();
  [running, most, ran] = [0, 0, 0];
  started = new Journal();
  release = gate();
  test.server.registerTask('work', async () => {
    most = Math.max(most, ++running);
    started.add(++ran);
    await release.opened;
    await nextTurn();
    running--;
  });
});

const send = (count: number, more: object = {}) =>
  Promise.all(Array.from({ length: count }, () => test.server.send({ name: 'work', ...more })));

describe('concurrency', () => {
  it.each([1, 2, 7])('of %i is reached and never exceeded', async (concurrency) => {
    const results = await send(50);
    await test.startWorker({ concurrency });
    await started.until(({ length }) => length === concurrency);
    await nextTurn();
    expect(most).toBe(concurrency);
    release.open();
    await Promise.all(results.map((result) => result.get()));
    expect(most).toBe(concurrency);
    expect(ran).toBe(50);
  });

  it('is 10 by default', async () => {
    await send(20);
    const worker = await test.startWorker();
    await started.until(({ length }) => length === 10);
    await nextTurn();
    expect([worker.concurrency, most]).toEqual([10, 10]);
  });

  it('of 0 means 1,000', async () => {
    const results = await send(1_200);
    const worker = await test.startWorker({ concurrency: 0 });
    expect(worker.concurrency).toBe(1_000);
    await started.until(({ length }) => length === 1_000);
    await nextTurn();
    expect(most).toBe(1_000);
    release.open();
    await Promise.all(results.map((result) => result.get()));
    expect(most).toBe(1_000);
  });

  it.each([-1, 1.5, Number.NaN, '2' as never])('of %s is refused', (concurrency) => {
    expect(() => test.newWorker({ concurrency })).toThrow(/newWorker: expected `concurrency` to be/);
  });

  it('counts handlers only: a slot is free while the state of its task is being written', async () => {
    const write = gate();
    release.open();
    test.backend.onWrite = async (writes, next) => {
      if (writes.some(({ state }) => state.state === 'SUCCESS')) await write.opened;
      return next();
    };
    await send(2);
    await test.startWorker({ concurrency: 1 });
    await started.until(({ length }) => length === 2);
    expect(most).toBe(1);
    expect(test.broker.settled.items).toEqual([]);
    write.open();
    await test.broker.settled.until(({ length }) => length === 2);
  });

  it('does not let what is in hand grow while states cannot be written', async () => {
    release.open();
    const write = gate();
    test.backend.onWrite = async (writes, next) => {
      if (writes.some(({ state }) => state.state === 'SUCCESS')) await write.opened;
      return next();
    };
    await send(20);
    await test.startWorker({ concurrency: 3, prefetch: 0 });
    await started.until(({ length }) => length === 6);
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(ran).toBe(6);
    expect(test.broker.consumed?.maxInHand).toBe(6);
    write.open();
    await test.broker.settled.until(({ length }) => length === 20);
  });

  it('frees the slot of a task that fails or whose arguments do not fit', async () => {
    test.server.registerTask('fails', () => Promise.reject(new Error('no')));
    await test.startWorker({ concurrency: 1 });
    release.open();
    for (let i = 0; i < 3; i++) {
      await test.server.send({ name: 'fails' });
      await test.broker.put('{"Name":"work","Args":[{"Type":"no type"}]}');
      await test.broker.put('no signature');
    }
    await (await send(1))[0]?.get();
    expect(ran).toBe(1);
  });
});

describe('queues', () => {
  it('a worker takes from its own queue only', async () => {
    release.open();
    await test.startWorker({ queue: 'mine' });
    await send(2);
    const mine = await send(3, { routingKey: 'mine' });
    await Promise.all(mine.map((result) => result.get()));
    expect(ran).toBe(3);
    expect(await test.server.pendingTasks('q')).toHaveLength(2);
  });

  it('several workers share one: all of them work, each task runs once', async () => {
    const results = await send(12);
    for (let i = 0; i < 3; i++) await test.startWorker({ concurrency: 3 });
    await started.until(({ length }) => length === 9);
    expect(most).toBe(9);
    release.open();
    await Promise.all(results.map((result) => result.get()));
    expect(ran).toBe(12);
    expect(most).toBe(9);
  });
});
