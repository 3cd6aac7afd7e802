// Waiting for results: how long, how often the backend is asked, and what happens when it is away.

import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { defineTask, int64, MachineryError, rest, Server } from '../../src/index.ts';
import { MemoryBroker } from '../../src/memory/index.ts';
import { PollingBackend } from './polling-backend.ts';
import { errorLike, nextTurn, RecordingLogger, testServer, thrownBy } from './setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const away = () => new MachineryError('ERR_MACHINERY_BACKEND_UNAVAILABLE', 'connection refused');

/** A server whose backend has to be asked. */
function polled(limits: ConstructorParameters<typeof PollingBackend>[0] = {}) {
  const backend = new PollingBackend(limits);
  const logger = new RecordingLogger();
  const server = new Server({ broker: new MemoryBroker(), backend, logger });
  onTestFinished(() => server.close());
  return { backend, logger, server };
}

describe.each([
  ['a backend with watch', () => testServer()],
  ['a backend without', () => polled()],
])('get on %s', (_, make) => {
  const timeout = (text: RegExp) => errorLike('ERR_MACHINERY_RESULT_TIMEOUT', text);
  const put = async (backend: ReturnType<typeof make>['backend'], taskUuid: string) =>
    backend.put({ taskUuid, taskName: 'add', state: 'SUCCESS', results: [{ type: 'int64', value: 7 }] });

  it('gives up after timeoutMs', async () => {
    const { server } = make();
    const result = await server.send(add(1));
    const before = performance.now();
    expect(await thrownBy(() => result.get({ timeoutMs: 30 }))).toEqual(
      timeout(
        / was not finished within 30 ms: it is PENDING, is a worker started for its queue, and has it a handler\?$/,
      ),
    );
    expect(performance.now() - before).toBeGreaterThan(28);
  });

  it('looks once with a timeout of 0', async () => {
    const { server, backend } = make();
    const result = await server.send(add(1));
    expect(await thrownBy(() => result.get({ timeoutMs: 0 }))).toEqual(
      timeout(/ was not finished within 0 ms: it is PENDING/),
    );
    await put(backend, result.uuid);
    expect(await result.get({ timeoutMs: 0 })).toBe(7);
  });

  it('waits for what was never sent until its time is up', async () => {
    const { server } = make();
    const error = await thrownBy(() => server.result('task_never', add).get({ timeoutMs: 30 }));
    expect(error).toEqual(timeout(/^Task task_never was not finished within 30 ms: no state of it has been seen$/));
  });

  it('waits for what is sent later, by somebody else', async () => {
    const { server, backend } = make();
    const getting = server.result('task_later', add).get();
    await nextTurn();
    await put(backend, 'task_later');
    expect(await getting).toBe(7);
  });

  it('stops when its signal fires, before or while it waits', async () => {
    const { server } = make();
    const result = await server.send(add(1));
    const reason = new Error('enough');
    const aborted = errorLike('ERR_MACHINERY_ABORTED', `Waiting for task ${result.uuid} was aborted`);
    const error = await thrownBy(() => result.get({ signal: AbortSignal.abort(reason) }));
    expect(error).toEqual(aborted);
    expect((error as Error).cause).toBe(reason);
    const controller = new AbortController();
    const getting = thrownBy(() => result.get({ signal: controller.signal }));
    const other = result.get();
    await nextTurn();
    controller.abort();
    expect(await getting).toEqual(aborted);
    await server.close();
    await expect(other).rejects.toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
  });

  it('tells that the state has expired when it was there and is gone', async () => {
    const { server, backend } = make();
    const result = await server.send(add(1));
    await backend.purge({ tasks: [result.uuid] });
    const text = `The state of task ${result.uuid} is gone: it expired or was purged before it was read`;
    expect(await thrownBy(() => result.get())).toEqual(errorLike('ERR_MACHINERY_RESULT_EXPIRED', text));
  });

  it('is rejected when the server is closed, and ever after', async () => {
    const { server } = make();
    const result = await server.send(add(1));
    const getting = thrownBy(() => result.get());
    await nextTurn();
    await server.close();
    const closed = errorLike('ERR_MACHINERY_CLOSED', `The server was closed while waiting for task ${result.uuid}`);
    expect(await getting).toEqual(closed);
    expect(await thrownBy(() => result.get())).toEqual(closed);
  });
});

it('a result that expires in the backend while it is waited for is an error', async () => {
  const { server, backend } = polled();
  await backend.put({ taskUuid: 'task_1', taskName: 'add', state: 'STARTED' });
  const getting = thrownBy(() => server.result('task_1').get());
  await backend.reads.until((reads) => reads.length >= 2);
  await backend.purge({ tasks: ['task_1'] });
  expect(await getting).toMatchObject({ code: 'ERR_MACHINERY_RESULT_EXPIRED' });
});

it('a signal that many waits share has one listener, and loses it when they end', async () => {
  const { server, backend } = polled();
  const { signal } = new AbortController();
  let listeners = 0;
  signal.addEventListener = () => void listeners++;
  signal.removeEventListener = () => void listeners--;
  const gets = Array.from({ length: 20 }, (_, i) => server.result(`task_${i}`).get({ signal }));
  expect(listeners).toBe(1);
  for (let i = 0; i < 20; i++) await backend.finish(`task_${i}`);
  await Promise.all(gets);
  expect(listeners).toBe(0);
});

describe('a backend that is away while results are waited for', () => {
  it('is waited out, with one warning and one word when it is back', async () => {
    const { server, backend, logger } = polled();
    backend.away = away();
    const gets = Promise.all(['task_1', 'task_2'].map((uuid) => server.result(uuid).get()));
    await backend.reads.until((reads) => reads.length >= 3);
    await backend.finish('task_1', 1);
    await backend.finish('task_2', 2);
    backend.away = undefined;
    expect(await gets).toEqual([1, 2]);
    expect(logger.texts('warn')).toEqual(['PollingBackend cannot be read, waiting goes on: connection refused']);
    expect(logger.texts('info')).toEqual(['PollingBackend answers again']);
  });

  it('does not keep get beyond its timeout', async () => {
    const { server, backend } = polled();
    backend.away = away();
    const error = await thrownBy(() => server.result('task_1').get({ timeoutMs: 40 }));
    expect(error).toMatchObject({ code: 'ERR_MACHINERY_RESULT_TIMEOUT' });
  });

  it('ends the wait when it refuses for good', async () => {
    const { server, backend, logger } = polled();
    const refused = new MachineryError('ERR_MACHINERY_BACKEND_FAILED', 'no rights');
    backend.away = refused;
    expect(await thrownBy(() => server.result('task_1').get())).toBe(refused);
    expect(logger.texts('warn')).toEqual([]);
  });
});

describe('reads of a backend without watch', () => {
  it('are at most 50 a second for 1,000 waiters, in batches that the backend takes', async () => {
    const { server, backend } = polled({ maxBatch: 500 });
    const uuids = Array.from({ length: 1_000 }, (_, i) => `task_${i}`);
    const gets = Promise.all(uuids.map((uuid) => server.result(uuid).get()));
    const start = performance.now();
    await backend.reads.until((reads) => (reads.at(-1)?.at ?? 0) > start + 1_200);
    const inOneSecond = Math.max(
      ...backend.reads.items.map(({ at }) => backend.reads.items.filter((r) => r.at >= at && r.at < at + 1_000).length),
    );
    for (const uuid of uuids) await backend.finish(uuid);
    await gets;
    expect(inOneSecond).toBeLessThanOrEqual(50);
    expect(Math.max(...backend.reads.items.map(({ taskUuids }) => taskUuids.length))).toBeLessThanOrEqual(500);
  });

  it('are at most 50 a second also where a batch is small', async () => {
    const { server, backend } = polled({ maxBatch: 100 });
    const uuids = Array.from({ length: 1_000 }, (_, i) => `task_${i}`);
    const gets = Promise.all(uuids.map((uuid) => server.result(uuid).get()));
    const start = performance.now();
    await backend.reads.until((reads) => (reads.at(-1)?.at ?? 0) > start + 1_200);
    // The first look at each takes ten calls; what is counted is what goes on.
    const later = backend.reads.items.filter(({ at }) => at > start + 100 && at <= start + 1_100);
    for (const uuid of uuids) await backend.finish(uuid);
    await gets;
    expect(later.length).toBeLessThanOrEqual(50);
  });

  it('find the end of a lone short task promptly', async () => {
    const { server, backend } = polled();
    const delays: number[] = [];
    for (let i = 0; i < 5; i++) {
      const getting = server.result(`task_${i}`).get();
      await backend.reads.until((reads) => reads.length > 5 * (i + 1));
      const endedAt = performance.now();
      await backend.finish(`task_${i}`);
      await getting;
      delays.push(performance.now() - endedAt);
    }
    expect(delays.toSorted((a, b) => a - b)[2]).toBeLessThan(30);
  });

  it('ask for a task once, however many wait for it', async () => {
    const { server, backend } = polled();
    const gets = Array.from({ length: 100 }, () => server.result('task_1').get());
    await backend.reads.until((reads) => reads.length >= 3);
    await backend.finish('task_1');
    await Promise.all(gets);
    expect(Math.max(...backend.reads.items.map(({ taskUuids }) => taskUuids.length))).toBe(1);
  });

  it('stop when nobody waits any more', async () => {
    const { server, backend } = polled();
    await thrownBy(() => server.result('task_1').get({ timeoutMs: 20 }));
    const reads = backend.reads.items.length;
    await wait(100); // a window in which nothing may happen
    expect(backend.reads.items.length).toBe(reads);
  });
});

describe('a backend with watch', () => {
  it('is read once for each wait, and no more while the push works', async () => {
    const { server, backend } = testServer();
    const results = await Promise.all(Array.from({ length: 100 }, (_, i) => server.send(add(i))));
    const gets = results.map((result) => result.get());
    await wait(300); // in which a backend without push is read many times
    expect(backend.calls.read).toBeLessThanOrEqual(2);
    for (const { uuid } of results)
      await backend.put({ taskUuid: uuid, taskName: 'add', state: 'SUCCESS', results: [{ type: 'int64', value: 1 }] });
    await Promise.all(gets);
    expect(backend.calls.read).toBeLessThanOrEqual(2);
  });

  it('that loses a push is found out by reading, and not relied on for a while', async () => {
    const { server, backend } = testServer();
    backend.watch = () => () => {};
    const took: number[] = [];
    for (let i = 0; i < 2; i++) {
      const { uuid } = await server.send(add(1));
      const started = performance.now();
      const getting = server.result(uuid, add).get();
      await wait(50);
      await backend.put({ taskUuid: uuid, taskName: 'add', state: 'SUCCESS', results: [{ type: 'int64', value: 1 }] });
      expect(await getting).toBe(1);
      took.push(performance.now() - started);
    }
    expect(took[0]).toBeGreaterThan(500);
    expect(took[1]).toBeLessThan(500);
  });
});

it('a wait whose time is up ends also when the backend does not answer', async () => {
  const test = testServer();
  test.backend.onRead = () => new Promise(() => {});
  const get = () => test.server.result('task_1').get({ timeoutMs: 10 });
  expect(await thrownBy(get)).toMatchObject({ code: 'ERR_MACHINERY_RESULT_TIMEOUT' });
});

it('what state() takes from a backend whose reads consume goes to whoever waits for it', async () => {
  const { server, backend } = polled({ readConsumes: true });
  await backend.finish('task_1', 7);
  const taken = new Set<string>();
  const read = backend.read.bind(backend);
  backend.read = async (uuids) => {
    const states = await read(uuids);
    return states.map((state, i) => (taken.size === taken.add(uuids[i] as string).size ? undefined : state));
  };
  const result = server.result('task_1');
  const [state, value] = await Promise.all([result.state(), server.result('task_1').get({ timeoutMs: 500 })]);
  expect([state?.state, value]).toEqual(['SUCCESS', 7]);
});
