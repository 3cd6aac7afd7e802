// A worker's life: start, quit, pause, resume. What the second quit does is in abort.test.ts, signals in launch.test.ts.

import { beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/logger.ts';
import { MemoryBackend, MemoryBroker } from '../../src/memory/index.ts';
import { Server } from '../../src/server.ts';
import { brokerAway } from './faulty-broker.ts';
import { type Gate, gate, nextTurn } from './journal.ts';
import { type TestServer, testServer } from './test-server.ts';

let test: TestServer;
let started: Gate;
let release: Gate;
beforeEach(() => {
  test = testServer();
  started = gate();
  release = gate();
  test.server.registerTask('wait', async () => {
    started.open();
    await release.opened;
    return 'waited';
  });
  test.server.registerTask('echo', (value) => value);
});

const echo = (value: number) => test.server.send({ name: 'echo', args: [{ type: 'int64', value }] });

/** Whether a promise is settled once the event loop has turned. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const settle = () => {
    settled = true;
  };
  promise.then(settle, settle);
  await nextTurn();
  await nextTurn();
  return settled;
}

describe('start', () => {
  it('resolves when messages are taken', async () => {
    await test.startWorker();
    expect(test.broker.calls).toMatchObject({ consume: 1 });
    expect(await (await echo(1)).get()).toBe(1);
  });

  it('consumes once, however often it is called at once or later', async () => {
    const worker = test.newWorker();
    await Promise.all([worker.start(), worker.start()]);
    await worker.start();
    expect(test.broker.calls.consume).toBe(1);
  });

  it('is refused after quit, also of a worker that never started', async () => {
    const worker = test.newWorker();
    await worker.quit();
    await expect(worker.start()).rejects.toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
    await expect(worker.launch()).rejects.toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
    expect(test.broker.calls.consume).toBe(0);
  });

  it('waits for a broker that is away, logs it once and tells errorHandler once', async () => {
    const errors: unknown[] = [];
    let away = 2;
    test.broker.onConsume = async (next) => {
      if (away-- > 0) throw brokerAway();
      return next();
    };
    await test.startWorker({ errorHandler: (error) => errors.push(error) });
    expect(test.broker.calls.consume).toBe(3);
    expect(errors).toHaveLength(1);
    expect(test.logger.texts('warn')).toHaveLength(1);
    expect(await (await echo(1)).get()).toBe(1);
  });

  it('rejects with any other error, and quit still resolves', async () => {
    test.broker.onConsume = () => Promise.reject(new Error('no rights'));
    const worker = test.newWorker();
    await expect(worker.start()).rejects.toThrow('no rights');
    await worker.quit();
  });

  it('ends when the worker is told to quit while the broker is away', async () => {
    const asked = gate();
    test.broker.onConsume = () => {
      asked.open();
      return Promise.reject(brokerAway());
    };
    const worker = test.newWorker();
    const starting = worker.start();
    await asked.opened;
    await worker.quit();
    await starting;
    expect(test.broker.calls.consume).toBe(1);
  });

  it('closes a consumer that it gets after the worker was told to quit', async () => {
    const asked = gate();
    const answer = gate();
    test.broker.onConsume = async (next) => {
      asked.open();
      await answer.opened;
      return next();
    };
    const worker = test.newWorker();
    const starting = worker.start();
    await asked.opened;
    const quitting = worker.quit();
    answer.open();
    await quitting;
    await starting;
    await nextTurn();
    expect(test.broker.calls.close).toBe(1);
    expect(test.broker.calls.exchange).toBe(0);
  });
});

describe('launch', () => {
  it('resolves when the worker has stopped', async () => {
    const worker = test.newWorker();
    const launched = worker.launch();
    expect(await (await echo(1)).get()).toBe(1);
    await worker.quit();
    await launched;
  });

  it('resolves when the worker is told to quit while the broker is away', async () => {
    const asked = gate();
    test.broker.onConsume = () => {
      asked.open();
      return Promise.reject(brokerAway());
    };
    const worker = test.newWorker();
    const launched = worker.launch();
    await asked.opened;
    await worker.quit();
    await launched;
  }, 2_000);

  it('resolves when the worker is told to quit while the broker is being asked', async () => {
    const asked = gate();
    const answer = gate();
    test.broker.onConsume = async (next) => {
      asked.open();
      await answer.opened;
      return next();
    };
    const worker = test.newWorker();
    const launched = worker.launch();
    await asked.opened;
    const quitting = worker.quit();
    await nextTurn();
    answer.open();
    await quitting;
    expect(await isSettled(launched)).toBe(true);
  });

  it('leaves no listener for signals behind', async () => {
    const before = process.listenerCount('SIGINT') + process.listenerCount('SIGTERM');
    const worker = test.newWorker();
    const launched = worker.launch();
    expect(process.listenerCount('SIGINT') + process.listenerCount('SIGTERM')).toBe(before + 2);
    await worker.quit();
    await launched;
    expect(process.listenerCount('SIGINT') + process.listenerCount('SIGTERM')).toBe(before);
  });

  it('says what it does when it starts', async () => {
    await test.startWorker({ concurrency: 3 });
    expect(test.logger.items.filter(({ level }) => level === 'info')).toEqual([
      {
        level: 'info',
        text: 'Worker worker-1 consumes queue q',
        details: [
          {
            broker: 'FaultyBroker',
            backend: test.backend.name,
            concurrency: 3,
            resultsExpireInSeconds: 3_600,
            tasks: ['wait', 'echo'],
          },
        ],
      },
    ]);
  });

  it('leaves signals alone when the server does not handle them', async () => {
    const before = process.listenerCount('SIGINT') + process.listenerCount('SIGTERM');
    await using server = new Server({
      broker: new MemoryBroker(),
      backend: new MemoryBackend(),
      logger: silentLogger,
      handleSignals: false,
    });
    const worker = server.newWorker('w');
    const launched = worker.launch();
    expect(process.listenerCount('SIGINT') + process.listenerCount('SIGTERM')).toBe(before);
    await worker.quit();
    await launched;
  });
});

describe('quit', () => {
  it('waits for running tasks, their states, callbacks and acks, and takes nothing more', async () => {
    const worker = await test.startWorker();
    const result = await test.server.send({ name: 'wait', onSuccess: [{ uuid: 'next', name: 'echo' }] });
    await started.opened;
    const quitting = worker.quit();
    await echo(2);
    expect(await isSettled(quitting)).toBe(false);
    release.open();
    await quitting;
    expect(await result.get()).toBe('waited');
    expect(test.broker.settled.items.map(({ kind }) => kind)).toEqual(['ack']);
    expect((await test.server.pendingTasks('q')).map(({ name }) => name)).toEqual(['echo', 'echo']);
    expect(test.broker.calls.close).toBe(1);
  });

  it('resolves at once when nothing runs', async () => {
    const worker = await test.startWorker();
    await worker.quit();
    expect(test.broker.calls.close).toBe(1);
  });

  it('gives back what an exchange brings after it', async () => {
    const asked = gate();
    const answer = gate();
    test.broker.onExchange = async (_, next) => {
      const taken = await next();
      if (taken.length > 0) {
        asked.open();
        await answer.opened;
      }
      return taken;
    };
    const worker = await test.startWorker();
    await echo(1);
    await asked.opened;
    const quitting = worker.quit();
    answer.open();
    await quitting;
    expect(await test.server.pendingTasks('q')).toHaveLength(1);
    expect(test.broker.settled.items).toMatchObject([{ kind: 'requeue', position: 'front' }]);
  });

  it.each([0, 20])('aborts running tasks after timeoutMs: %i', async (timeoutMs) => {
    const worker = await test.startWorker();
    await test.server.send({ name: 'wait', uuid: 'task_w' });
    await started.opened;
    await worker.quit({ timeoutMs });
    expect((await test.server.pendingTasks('q')).map(({ uuid }) => uuid)).toEqual(['task_w']);
  });

  it('does not abort tasks that end before timeoutMs', async () => {
    const worker = await test.startWorker();
    const result = await test.server.send({ name: 'wait' });
    await started.opened;
    const quitting = worker.quit({ timeoutMs: 60_000 });
    release.open();
    await quitting;
    expect(await result.get()).toBe('waited');
  });

  it('resolves however often it is called, also afterwards', async () => {
    const worker = await test.startWorker();
    await Promise.all([worker.quit(), worker.quit(), worker.quit()]);
    await worker.quit();
    expect(test.broker.calls.close).toBe(1);
  });

  it('called twice does not wait for a preConsumeHandler that does not answer', async () => {
    const asked = gate();
    const answer = gate();
    const worker = await test.startWorker({
      preConsumeHandler: async () => {
        asked.open();
        await answer.opened;
        return true;
      },
    });
    await asked.opened;
    void worker.quit();
    const stopped = await isSettled(worker.quit());
    answer.open();
    expect(stopped).toBe(true);
  });

  it('refuses a wrong timeoutMs with a rejection that names it', async () => {
    const worker = test.newWorker();
    expect(() => worker.quit({ timeoutMs: -1 })).toThrow(/timeoutMs/);
  });
});

describe('await using', () => {
  it('stops the worker after its running tasks', async () => {
    const result = await test.server.send({ name: 'wait' });
    {
      await using worker = test.server.newWorker('worker');
      await worker.start();
      await started.opened;
      setImmediate(release.open);
    }
    expect(await result.get()).toBe('waited');
    expect(test.broker.calls.close).toBe(1);
  });

  it('of the server stops all its workers', async () => {
    await test.startWorker();
    const worker = await test.startWorker({ queue: 'other' });
    await test.server.send({ name: 'wait' });
    await started.opened;
    const closing = test.server.close();
    expect(await isSettled(closing)).toBe(false);
    release.open();
    await closing;
    await expect(worker.start()).rejects.toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
    expect(test.broker.calls.close).toBe(2);
  });
});

describe('pause', () => {
  it('takes nothing until resume, also when an exchange was waiting', async () => {
    const worker = await test.startWorker();
    await test.broker.settled.until(() => test.broker.calls.exchange === 1);
    worker.pause();
    const result = await echo(1);
    expect(await isSettled(result.get())).toBe(false);
    expect(await test.server.pendingTasks('q')).toHaveLength(1);
    worker.resume();
    expect(await result.get()).toBe(1);
  });

  it('lets running tasks go on and settles them', async () => {
    const worker = await test.startWorker();
    const result = await test.server.send({ name: 'wait' });
    await started.opened;
    worker.pause();
    release.open();
    expect(await result.get()).toBe('waited');
    await test.broker.settled.first(({ kind }) => kind === 'ack');
  });

  it('followed by resume at once loses nothing', async () => {
    const worker = await test.startWorker();
    for (let i = 0; i < 20; i++) {
      worker.pause();
      worker.resume();
      expect(await (await echo(i)).get()).toBe(i);
    }
  });

  it('and quit: the worker stops', async () => {
    const worker = await test.startWorker();
    worker.pause();
    await worker.quit();
    worker.resume();
    await echo(1);
    await nextTurn();
    expect(await test.server.pendingTasks('q')).toHaveLength(1);
  });

  it('before start holds: nothing is taken until resume', async () => {
    const worker = test.newWorker();
    worker.pause();
    await worker.start();
    const result = await echo(1);
    expect(await isSettled(result.get())).toBe(false);
    worker.resume();
    expect(await result.get()).toBe(1);
  });
});
