// What a task leaves behind: promises rejected, errors thrown from timers. They are the task's, not the process's end.

import { beforeEach, describe, expect, it } from 'vitest';
import { currentTask } from '../../src/task-context.ts';
import { type Gate, gate, type Journal, nextTurn } from './journal.ts';
import { watchProcess } from './process-events.ts';
import { type TestServer, testServer } from './test-server.ts';

let test: TestServer;
/** What reached the process: no worker has claimed it for a task before this listener, but the process lives. */
let events: Journal<unknown>;
let hold: Gate;
beforeEach(() => {
  test = testServer();
  events = watchProcess();
  hold = gate();
});

describe('a promise that a task leaves rejected', () => {
  it('fails the task that is still running', async () => {
    test.server.registerTask('stray', async () => {
      void Promise.reject(new Error('stray'));
      await hold.opened;
    });
    await test.startWorker();
    await test.server.send({ name: 'stray', uuid: 'task_s' });
    expect(await test.backend.final('task_s')).toMatchObject({ state: 'FAILURE', error: 'stray' });
  });

  it('fails the task that returns in the same turn', async () => {
    test.server.registerTask('stray', () => {
      void Promise.reject(new Error('stray'));
      return 'returned';
    });
    await test.startWorker();
    await test.server.send({ name: 'stray', uuid: 'task_s' });
    expect(await test.backend.final('task_s')).toMatchObject({ state: 'FAILURE', error: 'stray' });
  });

  it('fails the right one of tasks that run at once', async () => {
    test.server.registerTask('stray', async (n: number) => {
      await nextTurn();
      if (n === 3) void Promise.reject(new Error('stray'));
      await nextTurn();
      return n;
    });
    await test.startWorker();
    const results = await Promise.all(
      [1, 2, 3, 4, 5].map((value) => test.server.send({ name: 'stray', args: [{ type: 'int64', value }] })),
    );
    const ended = await Promise.all(results.map((result) => result.get().catch((error) => error.message)));
    expect(ended).toEqual([1, 2, 'stray', 4, 5]);
  });

  it('fails each task that leaves it, also when it is the same error object again', async () => {
    const shared = new Error('shared');
    test.server.registerTask('stray', () => {
      void Promise.reject(shared);
      return 'returned';
    });
    await test.startWorker();
    for (const uuid of ['first', 'second']) {
      await test.server.send({ name: 'stray', uuid });
      expect(await test.backend.final(uuid)).toMatchObject({ state: 'FAILURE', error: 'shared' });
    }
  });

  it('is logged with the task when the task has ended before', async () => {
    test.server.registerTask('stray', () => {
      void hold.opened.then(() => Promise.reject(new Error('late')));
      return 'returned';
    });
    await test.startWorker();
    expect(await (await test.server.send({ name: 'stray', uuid: 'task_s' })).get()).toBe('returned');
    hold.open();
    const entry = await test.logger.first(({ level }) => level === 'error');
    expect(entry.text).toContain('task_s');
    expect(entry.details).toMatchObject([{ message: 'late' }]);
  });

  it('is tried again like any failure', async () => {
    test.server.registerTask('stray', () => {
      if (currentTask()?.attempt === 1) void Promise.reject(new Error('stray'));
      return 'returned';
    });
    await test.startWorker();
    const headers = { 'machinery-backoff': '{"delayMs":1}' };
    expect(await (await test.server.send({ name: 'stray', retryCount: 1, headers })).get()).toBe('returned');
  });

  it('is claimed once when several workers run in the process', async () => {
    test.server.registerTask('stray', () => {
      void hold.opened.then(() => Promise.reject('late text'));
      return 'returned';
    });
    await test.startWorker();
    await test.startWorker();
    await (await test.server.send({ name: 'stray' })).get();
    hold.open();
    await test.logger.first(({ level }) => level === 'error');
    await nextTurn();
    expect(test.logger.texts('error')).toHaveLength(1);
  });
});

describe('an error thrown from a timer of a task', () => {
  it('fails the task that is still running', async () => {
    test.server.registerTask('stray', async () => {
      setTimeout(() => {
        throw new Error('from a timer');
      });
      await hold.opened;
    });
    await test.startWorker();
    await test.server.send({ name: 'stray', uuid: 'task_s' });
    expect(await test.backend.final('task_s')).toMatchObject({ state: 'FAILURE', error: 'from a timer' });
  });

  it('is logged when the task has ended before', async () => {
    test.server.registerTask('stray', () => {
      setTimeout(() => {
        throw new Error('from a timer');
      }, 200);
    });
    await test.startWorker();
    await (await test.server.send({ name: 'stray', uuid: 'task_s' })).get();
    const entry = await test.logger.first(({ level }) => level === 'error');
    expect(entry.text).toContain('task_s');
  });
});

describe('eleven workers in one process', () => {
  it('are no reason for a warning of Node', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on('warning', onWarning);
    for (let i = 0; i < 11; i++) await test.startWorker();
    await nextTurn();
    process.off('warning', onWarning);
    expect(warnings.map(({ message }) => message)).toEqual([]);
  });

  it('leave no listener behind', async () => {
    const count = () => process.listenerCount('unhandledRejection') + process.listenerCount('uncaughtException');
    const before = count();
    const workers = await Promise.all([1, 2, 3].map(() => test.startWorker()));
    expect(count()).toBeGreaterThan(before);
    await Promise.all(workers.map((worker) => worker.quit()));
    expect(count()).toBe(before);
    void events;
  });
});
