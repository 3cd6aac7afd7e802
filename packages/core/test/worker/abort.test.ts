// A worker that is told twice to stop: running tasks are aborted and given back, and it writes and sends nothing more.

import { beforeEach, describe, expect, it } from 'vitest';
import { failed } from '../../src/outcome.ts';
import { currentTask } from '../../src/task-context.ts';
import { brokerAway } from './faulty-broker.ts';
import { gate, nextTurn } from './journal.ts';
import { ourMessage } from './messages.ts';
import { type TestServer, testServer } from './test-server.ts';

let test: TestServer;
beforeEach(() => {
  test = testServer();
});

/** The second quit, and the end of it. */
async function quitTwice(worker: { quit(): Promise<void> }) {
  void worker.quit();
  await worker.quit();
}

const callbacks = {
  onSuccess: [{ uuid: 'task_next', name: 'next' }],
  onError: [{ uuid: 'task_sorry', name: 'sorry' }],
};

describe('the second quit', () => {
  it('fires the AbortSignal of running tasks with ERR_MACHINERY_ABORTED', async () => {
    const started = gate();
    let reason: unknown;
    test.server.registerTask('work', () => {
      const { signal } = currentTask() as { signal: AbortSignal };
      started.open();
      return new Promise((_, reject) =>
        signal.addEventListener('abort', () => {
          reason = signal.reason;
          reject(signal.reason);
        }),
      );
    });
    const worker = await test.startWorker();
    await test.server.send({ name: 'work' });
    await started.opened;
    await quitTwice(worker);
    expect(reason).toMatchObject({ code: 'ERR_MACHINERY_ABORTED' });
  });

  it('gives messages back to the front, in order, before those that wait', async () => {
    test.server.registerTask('work', () => new Promise(() => {}));
    for (const uuid of ['1', '2', '3', '4']) await test.server.send({ name: 'work', uuid });
    const worker = await test.startWorker({ concurrency: 2 });
    await test.backend.written.first(({ state, taskUuid }) => state === 'STARTED' && taskUuid === '2');
    await quitTwice(worker);
    expect((await test.server.pendingTasks('q')).map(({ uuid }) => uuid)).toEqual(['1', '2', '3', '4']);
  });

  it.each(['rejects', 'returns', 'never ends'])(
    'lets another worker run the task, when the handler %s',
    async (how) => {
      const started = gate();
      const release = gate();
      const ended = gate();
      let runs = 0;
      test.server.registerTask('work', async () => {
        if (++runs > 1) return 'second';
        started.open();
        await (how === 'never ends' ? new Promise(() => {}) : release.opened);
        setImmediate(ended.open);
        if (how === 'rejects') throw new Error('late');
        return 'first';
      });
      const worker = await test.startWorker();
      const result = await test.server.send({ name: 'work', uuid: 'task_w', ...callbacks });
      await started.opened;
      await quitTwice(worker);
      release.open();
      if (how !== 'never ends') await ended.opened;
      await nextTurn();
      expect(test.backend.written.items.filter(({ state }) => state !== 'PENDING' && state !== 'STARTED')).toEqual([]);
      expect(test.broker.published.items).toHaveLength(1);
      await test.startWorker();
      expect(await result.get()).toBe('second');
      await test.broker.settled.first(({ kind }) => kind === 'ack');
      expect(test.broker.published.items.map(({ uuid }) => uuid)).toEqual(['task_w', 'task_next']);
      expect(runs).toBe(2);
    },
  );

  it('gives back as a redelivery, which is not counted towards maxDeliveries', async () => {
    let runs = 0;
    const started = [gate(), gate(), gate()];
    test.server.registerTask('work', () => {
      started[runs]?.open();
      return ++runs < 3 ? new Promise(() => {}) : 'done';
    });
    const result = await test.server.send({ name: 'work' });
    for (const { opened } of started.slice(0, 2)) {
      const worker = await test.startWorker({ maxDeliveries: 1 });
      await opened;
      await quitTwice(worker);
    }
    await test.startWorker({ maxDeliveries: 1 });
    expect(await result.get()).toBe('done');
  });

  it('starts no task that waits for its preTaskHandler', async () => {
    const hook = gate();
    const asked = gate();
    let runs = 0;
    test.server.registerTask('work', () => ++runs);
    const worker = await test.startWorker({
      preTaskHandler: () => {
        asked.open();
        return hook.opened;
      },
    });
    await test.server.send({ name: 'work', uuid: 'task_w' });
    await asked.opened;
    await quitTwice(worker);
    hook.open();
    await nextTurn();
    expect(runs).toBe(0);
    expect((await test.server.pendingTasks('q')).map(({ uuid }) => uuid)).toEqual(['task_w']);
  });

  it('starts no task whose state is being read', async () => {
    const read = gate();
    const asked = gate();
    let runs = 0;
    test.server.registerTask('work', () => ++runs);
    test.backend.onRead = async (_, next) => {
      asked.open();
      await read.opened;
      return next();
    };
    await test.broker.putRedelivered(ourMessage({ uuid: 'task_w', name: 'work' }));
    const worker = await test.startWorker();
    await asked.opened;
    await quitTwice(worker);
    read.open();
    await nextTurn();
    await nextTurn();
    expect(runs).toBe(0);
  });

  it('sends no callback of a task whose SUCCESS is being written', async () => {
    const write = gate();
    const asked = gate();
    test.server.registerTask('work', () => 1);
    test.backend.onWrite = async (writes, next) => {
      if (!writes.some(({ state }) => state.state === 'SUCCESS')) return next();
      asked.open();
      await write.opened;
      return next();
    };
    const worker = await test.startWorker();
    await test.server.send({ name: 'work', uuid: 'task_w', ...callbacks });
    await asked.opened;
    await quitTwice(worker);
    write.open();
    await test.backend.final('task_w');
    await nextTurn();
    await nextTurn();
    expect(test.broker.published.items.map(({ uuid }) => uuid)).toEqual(['task_w']);
  });

  it('tries a state that could not be written no more', async () => {
    test.server.registerTask('work', () => 1);
    const worker = await test.startWorker();
    test.backend.failWrites(1_000, ({ state }) => state === 'SUCCESS');
    await test.server.send({ name: 'work', uuid: 'task_w' });
    await test.logger.first(({ level }) => level === 'warn');
    await quitTwice(worker);
    test.backend.failWrites(0);
    await nextTurn();
    expect(test.backend.statesOf('task_w')).not.toContain('SUCCESS');
  });
});

describe('a worker that is aborted while its callback cannot be published', () => {
  it('leaves the callback to the next worker, which does not run the task again', async () => {
    let runs = 0;
    test.server.registerTask('work', () => ++runs);
    test.server.registerTask('next', (n: number) => n + 1);
    const worker = await test.startWorker();
    const result = await test.server.send({ name: 'work', uuid: 'task_w', ...callbacks });
    test.broker.onPublish = async (messages) => messages.map(() => failed(brokerAway(), true));
    await test.logger.first(({ level, text }) => level === 'warn' && text.includes('written to'));
    await quitTwice(worker);
    await nextTurn();
    expect(test.backend.statesOf('task_next')).not.toContain('FAILURE');
    test.broker.onPublish = (_, next) => next();
    await test.startWorker();
    expect(await result.get()).toBe(1);
    expect(await test.server.result('task_next').get({ timeoutMs: 2_000 })).toBe(2);
    expect(runs).toBe(1);
  });
});

describe('a worker that is aborted while a retry cannot be published', () => {
  it('leaves it to the next worker, which publishes it without running this attempt again', async () => {
    const attempts: (number | undefined)[] = [];
    test.server.registerTask('work', () => {
      attempts.push(currentTask()?.attempt);
      if (attempts.length === 1) throw new Error('once');
      return 'done';
    });
    const worker = await test.startWorker();
    const headers = { 'machinery-backoff': '{"delayMs":1}' };
    const result = await test.server.send({ name: 'work', uuid: 'task_w', retryCount: 1, headers });
    test.broker.onPublish = async (messages) => messages.map(() => failed(brokerAway(), true));
    await test.logger.first(({ level, text }) => level === 'warn' && text.includes('written to'));
    await quitTwice(worker);
    test.broker.onPublish = (_, next) => next();
    await test.startWorker();
    expect(await result.get()).toBe('done');
    expect(attempts).toEqual([1, 2]);
  });
});
