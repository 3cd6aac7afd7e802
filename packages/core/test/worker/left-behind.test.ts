// What goes on after a task has ended is not the task's: it does not see its context, and its errors are not blamed on it.

import { beforeEach, describe, expect, it } from 'vitest';
import { currentTask } from '../../src/task-context.ts';
import type { WorkerOptions } from '../../src/worker.ts';
import { type Journal, nextTurn } from './journal.ts';
import { watchProcess } from './process-events.ts';
import { type TestServer, testServer } from './test-server.ts';

const handlers: [string, () => unknown][] = [
  ['returns', () => 1],
  ['throws', () => throwNo()],
  ['resolves', async () => nextTurn()],
  ['rejects', () => nextTurn().then(throwNo)],
];
const workers: [string, WorkerOptions][] = [
  ['a worker', {}],
  ['a worker with handlers around each task', { preTaskHandler: () => {}, postTaskHandler: () => {} }],
];
const cases = workers.flatMap(([worker, options]) =>
  handlers.map(([handler, run]) => [worker, handler, options, run] as const),
);

function throwNo(): never {
  throw new Error('no');
}

let test: TestServer;
let escaped: Journal<unknown>;
beforeEach(() => {
  test = testServer();
  escaped = watchProcess();
});

/** Calls `look` wherever the worker comes to after its tasks. */
function watch(look: (where: string) => void): void {
  test.backend.onWrite = (writes, next) => {
    if (writes.some(({ state }) => state.state !== 'PENDING')) look('write');
    return next();
  };
  test.broker.onPublish = (_, next) => {
    look('publish');
    return next();
  };
  test.broker.onExchange = async (settled, next) => {
    if (settled.length > 0) look('settle');
    return next();
  };
  test.broker.onSettle = async (_, next) => {
    look('settle');
    return next();
  };
}

describe.each(cases)('%s whose task %s', (_worker, _handler, options, run) => {
  const callback = { name: 'callback', immutable: true };
  const send = () =>
    Promise.all([1, 2, 3].map(() => test.server.send({ name: 'work', onSuccess: [callback], onError: [callback] })));

  it('does nothing of its own in the context of the task', async () => {
    const seen = new Map<string, Set<string | undefined>>();
    const contexts: unknown[] = [];
    test.server.registerTask('work', () => {
      contexts.push(currentTask()?.signature.name);
      return run();
    });
    test.server.registerTask('callback', () => {
      contexts.push(currentTask()?.signature.name);
    });
    await send();
    watch((where) => {
      if (!seen.has(where)) seen.set(where, new Set());
      seen.get(where)?.add(currentTask()?.signature.name);
    });
    const look = (where: string) => void seen.set(where, new Set([currentTask()?.signature.name]));
    await test.startWorker({ ...options, concurrency: 1, errorHandler: () => look('errorHandler') });
    await test.broker.idle();
    const nobody = new Set([undefined]);
    expect(Object.fromEntries(seen)).toMatchObject({ write: nobody, publish: nobody, settle: nobody });
    expect([...seen.values()].every((names) => !names.has('work') && !names.has('callback'))).toBe(true);
    expect(contexts.toSorted()).toEqual(['callback', 'callback', 'callback', 'work', 'work', 'work']);
  });

  it('blames no task for what is rejected after it', async () => {
    test.server.registerTask('work', run);
    test.server.registerTask('callback', () => {});
    await send();
    let count = 0;
    watch((where) => {
      count++;
      void Promise.reject(new Error(`of ${where}`));
    });
    await test.startWorker({ ...options, concurrency: 1 });
    await test.broker.idle();
    await nextTurn();
    expect(escaped.items).toHaveLength(count);
    expect(count).toBeGreaterThan(3);
    expect(test.logger.texts('error').filter((text) => !text.endsWith('failed: no'))).toEqual([]);
  });

  it('runs the next task in a context of its own', async () => {
    const uuids: unknown[] = [];
    test.server.registerTask('work', async () => {
      const before = currentTask()?.signature.uuid;
      await undefined;
      uuids.push([before, currentTask()?.signature.uuid]);
      return run();
    });
    const sent = await Promise.all(['a', 'b', 'c'].map((uuid) => test.server.send({ name: 'work', uuid })));
    await test.startWorker({ ...options, concurrency: 1 });
    await Promise.allSettled(sent.map((result) => result.get()));
    expect(uuids).toEqual(['a', 'b', 'c'].map((uuid) => [uuid, uuid]));
  });
});
