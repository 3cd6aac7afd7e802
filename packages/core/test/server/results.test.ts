// What a result gives: values, errors, and the state.

import { describe, expect, it } from 'vitest';
import {
  AsyncResult,
  bool,
  defineTask,
  float64,
  int64,
  json,
  rest,
  Server,
  slice,
  string,
  TaskFailedError,
  type TaskState,
} from '../../src/index.ts';
import { EagerBroker, MemoryBackend, MemoryBroker, NullBackend } from '../../src/memory/index.ts';
import { errorLike, gate, nextTurn, type TestServer, testServer, thrownBy } from './setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const divide = defineTask('divide', { args: [int64, int64], returns: [int64, bool] });
const nothing = defineTask('nothing');
const none = defineTask('none', { returns: [] });
const fail = defineTask('fail', { args: [string], returns: string });

/** A server with a worker that runs the tasks above. */
async function withWorker(): Promise<TestServer> {
  const test = testServer();
  const { server } = test;
  server.handle(add, (_task, ...terms) => terms.reduce((a, b) => a + b, 0));
  server.handle(divide, (_task, a, b): [number, boolean] => [Math.trunc(a / b), a % b === 0]);
  server.handle(nothing, () => {});
  server.handle(none, () => []);
  server.handle(fail, (_task, text) => {
    throw new Error(text);
  });
  await test.startWorker();
  return test;
}

const finished = (taskUuid: string, more: Partial<TaskState> = {}): TaskState => ({
  taskUuid,
  taskName: 'add',
  state: 'SUCCESS',
  results: [{ type: 'int64', value: 2 }],
  ...more,
});

describe('get', () => {
  it('gives the value, a tuple, or undefined', async () => {
    const { server } = await withWorker();
    expect(await (await server.send(add(1, 2))).get()).toBe(3);
    expect(await (await server.send(divide(7, 2))).get()).toEqual([3, false]);
    expect(await (await server.send(nothing())).get()).toBeUndefined();
    expect(await (await server.send(none())).get()).toEqual([]);
  });

  it('gives a plain signature what its results are, one or several', async () => {
    const { server, backend } = testServer();
    await backend.put(finished('task_1', { results: [{ type: 'int64', value: 2n ** 60n }] }));
    await backend.put(
      finished('task_2', {
        results: [
          { type: 'string', value: 'x' },
          { type: '[]byte', value: 'Zg==' },
        ],
      }),
    );
    await backend.put(finished('task_3', { results: [] }));
    await backend.put({ taskUuid: 'task_4', taskName: '', state: 'SUCCESS' });
    expect(await server.result('task_1').get()).toBe(2n ** 60n);
    expect(await server.result('task_2').get()).toEqual(['x', new Uint8Array([102])]);
    expect(await server.result('task_3').get()).toBeUndefined();
    expect(await server.result('task_4').get()).toBeUndefined();
  });

  it('resolves when the task ends, not before', async () => {
    const test = testServer();
    const end = gate();
    test.server.handle(nothing, () => end.opened);
    await test.startWorker();
    const result = await test.server.send(nothing());
    let got = false;
    const getting = result.get().then(() => {
      got = true;
    });
    await nextTurn();
    expect(got).toBe(false);
    end.open();
    await getting;
  });

  it('may be called many times at once and after another, and reads the state once it is final no more', async () => {
    const test = await withWorker();
    const result = await test.server.send(add(1, 2));
    expect(await Promise.all([result.get(), result.get(), result.get({ timeoutMs: 5_000 })])).toEqual([3, 3, 3]);
    const { read } = test.backend.calls;
    expect(await result.get({ timeoutMs: 0 })).toBe(3);
    expect(await result.touch()).toEqual({ done: true, value: 3 });
    expect(test.backend.calls.read).toBe(read);
  });

  it('works for a thousand results at once', async () => {
    const { server } = await withWorker();
    const results = await Promise.all(Array.from({ length: 1_000 }, (_, i) => server.send(add(i, 1))));
    const values = await Promise.all(results.map((result) => result.get()));
    expect(values).toEqual(Array.from({ length: 1_000 }, (_, i) => i + 1));
  });

  it('is in time for a task that ended before anybody asked', async () => {
    const test = await withWorker();
    const { uuid } = await test.server.send(add(1, 2));
    await test.backend.final(uuid);
    expect(await test.server.result(uuid, add).get({ timeoutMs: 0 })).toBe(3);
  });
});

describe('a failed task', () => {
  it('makes get throw TaskFailedError, with what the worker stored', async () => {
    const { server } = await withWorker();
    const result = await server.send(fail('oops'));
    const error = (await thrownBy(() => result.get())) as TaskFailedError;
    expect(error).toBeInstanceOf(TaskFailedError);
    expect(error).toMatchObject({
      name: 'TaskFailedError',
      code: 'ERR_MACHINERY_TASK_FAILED',
      message: 'oops',
      error: 'oops',
      taskName: 'fail',
      taskUuid: result.uuid,
    });
    expect(await thrownBy(() => result.touch())).toMatchObject({ error: 'oops' });
    expect(await result.state()).toMatchObject({ state: 'FAILURE', error: 'oops' });
  });

  it('without an error text, or a name, is told all the same', async () => {
    const { server, backend } = testServer();
    await backend.put({ taskUuid: 'task_1', taskName: 'add', state: 'FAILURE' });
    await backend.put({ taskUuid: 'task_2', taskName: '', state: 'FAILURE', error: '' });
    expect(await thrownBy(() => server.result('task_1').get())).toEqual(
      errorLike('ERR_MACHINERY_TASK_FAILED', 'Task add failed without an error text'),
    );
    expect(await thrownBy(() => server.result('task_2').get())).toEqual(
      errorLike('ERR_MACHINERY_TASK_FAILED', 'Task task_2 failed without an error text'),
    );
  });
});

describe('touch and state', () => {
  it('look once, and do not wait', async () => {
    const { server, backend } = testServer();
    const result = await server.send(add(1, 1));
    expect(await result.touch()).toEqual({ done: false });
    expect(await result.state()).toMatchObject({ state: 'PENDING', taskName: 'add', taskUuid: result.uuid });
    for (const state of ['RECEIVED', 'STARTED', 'RETRY'] as const) {
      await backend.put({ taskUuid: result.uuid, taskName: 'add', state });
      expect(await result.touch()).toEqual({ done: false });
      expect(await result.state()).toMatchObject({ state });
    }
    await backend.put(finished(result.uuid));
    expect(await result.touch()).toEqual({ done: true, value: 2 });
  });

  it('find nothing for what was never sent', async () => {
    const result = testServer().server.result('task_never');
    expect(await result.state()).toBeUndefined();
    expect(await result.touch()).toEqual({ done: false });
  });

  it('share one read when many are asked for in one tick', async () => {
    const { server, backend } = testServer();
    const results = Array.from({ length: 20 }, (_, i) => server.result(`task_${i % 10}`));
    await Promise.all(results.map((result) => result.state()));
    expect(backend.calls.read).toBe(1);
  });

  it('reject when the backend is away', async () => {
    const { server, backend } = testServer();
    backend.onRead = () => Promise.reject(new Error('away'));
    await expect(server.result('task_1').state()).rejects.toThrow('away');
    await expect(server.result('task_1').touch()).rejects.toThrow('away');
  });
});

describe('in another process', () => {
  it('a result is picked up by its UUID, with the types of its task', async () => {
    const backend = new MemoryBackend();
    await using worker = new Server({ broker: new MemoryBroker(), backend });
    const other = new Server({ broker: new MemoryBroker(), backend });
    worker.handle(divide, (_task, a, b): [number, boolean] => [a / b, true]);
    await worker.newWorker('w').start();
    const { uuid } = await worker.send(divide(8, 2));
    const result = other.result(uuid, divide);
    expect(result).toBeInstanceOf(AsyncResult);
    expect(result.uuid).toBe(uuid);
    expect(await result.get()).toEqual([4, true]);
    expect(await other.result(uuid).get()).toEqual([4, true]);
  });

  it.each<[string, Parameters<typeof defineTask>[1], TaskState['results'], string]>([
    [
      'a text for a number',
      { returns: int64 },
      [{ type: 'string', value: 'x' }],
      '`x` (string) was sent as string, the task takes int64',
    ],
    [
      'a fraction for an integer',
      { returns: int64 },
      [{ type: 'float64', value: 1.5 }],
      'strconv.ParseInt: parsing "1.5": invalid syntax',
    ],
    ['one result for two', { returns: [int64, int64] }, [{ type: 'int64', value: 1 }], 'expected 2 result(s), got 1'],
    ['none for one', { returns: int64 }, [], 'expected 1 result(s), got 0'],
    ['text that is no JSON', { returns: json() }, [{ type: 'string', value: '{' }], 'Expected JSON, got `{` (string)'],
    [
      'a number beyond 2^53 for int64',
      { returns: int64 },
      [{ type: 'int64', value: 2n ** 60n }],
      '1152921504606846976 is beyond what a JavaScript number holds exactly: declare bigInt64 or bigUint64 in place of int64',
    ],
  ])('%s is an error that says what came', async (_, declaration, results = [], why) => {
    const { server, backend } = testServer();
    await backend.put(finished('task_1', { results }));
    const result = server.result('task_1', defineTask('add', declaration));
    expect(await thrownBy(() => result.get())).toEqual(
      errorLike('ERR_MACHINERY_INVALID_ARGUMENT', `The result of task add (task_1): ${why}`),
    );
  });

  it('numbers pass between number types as long as the value fits', async () => {
    const { server, backend } = testServer();
    await backend.put(finished('task_1', { results: [{ type: 'float64', value: 2 }] }));
    await backend.put(finished('task_2', { results: [{ type: '[]int64', value: [1, 2] }] }));
    expect(await server.result('task_1', add).get()).toBe(2);
    expect(await server.result('task_2', defineTask('f', { returns: slice(float64) })).get()).toEqual([1, 2]);
  });
});

describe('without stored results', () => {
  it('get, touch and state are refused', async () => {
    await using server = new Server({ broker: new MemoryBroker(), backend: new NullBackend() });
    const result = await server.send(add(1));
    const refused = errorLike(
      'ERR_MACHINERY_NOT_SUPPORTED',
      '@machinery/core/memory NullBackend does not support results: it stores none',
    );
    expect(await thrownBy(() => result.get({ timeoutMs: 5 }))).toEqual(refused);
    expect(await thrownBy(() => result.state())).toEqual(refused);
    expect(await thrownBy(() => result.touch())).toEqual(refused);
  });

  it('tasks run all the same, on an eager broker while they are sent', async () => {
    await using server = new Server({ broker: new EagerBroker(), backend: new NullBackend() });
    const ran: number[][] = [];
    server.handle(add, (_task, ...terms) => ran.push(terms));
    await server.newWorker('w').start();
    await server.send(add(1, 2));
    expect(ran).toEqual([[1, 2]]);
  });
});
