// Registering tasks: declared ones, plain functions, and asking for them.

import { describe, expect, it } from 'vitest';
import { currentTask, defineTask, int64, rest } from '../../src/index.ts';
import { errorLike, testServer, thrownBy } from './setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const sum = (...terms: number[]) => terms.reduce((a, b) => a + b, 0);
const handleAdd = (_: unknown, ...terms: number[]) => sum(...terms);

describe('registered tasks', () => {
  it('can be asked for, in the order of registering', () => {
    const { server } = testServer();
    server.handle(add, handleAdd, { timeoutMs: 5_000 });
    server.registerTask('b', sum);
    server.registerTasks({ c: sum, d: sum });
    expect(server.getRegisteredTaskNames()).toEqual(['add', 'b', 'c', 'd']);
    expect(server.isTaskRegistered('c')).toBe(true);
    expect(server.isTaskRegistered('toString')).toBe(false);
    expect(server.getRegisteredTask('add')).toMatchObject({ name: 'add', timeoutMs: 5_000 });
  });

  it('are named in the error for one that is not', async () => {
    const { server } = testServer();
    const notRegistered = (message: string) => errorLike('ERR_MACHINERY_TASK_NOT_REGISTERED', message);
    expect(await thrownBy(() => server.getRegisteredTask('x'))).toEqual(
      notRegistered('Task x is not registered; registered are: none'),
    );
    server.registerTasks({ a: sum, b: sum });
    expect(await thrownBy(() => server.getRegisteredTask('x'))).toEqual(
      notRegistered('Task x is not registered; registered are: a, b'),
    );
  });

  it.each<[string, (server: ReturnType<typeof testServer>['server']) => void]>([
    ['handle', (server) => server.handle(add, handleAdd)],
    ['registerTask', (server) => server.registerTask('add', sum)],
    ['registerTasks', (server) => server.registerTasks({ add: sum })],
  ])('are registered once: %s refuses the second of a name', async (_, register) => {
    const { server } = testServer();
    server.handle(add, handleAdd);
    expect(await thrownBy(() => register(server))).toEqual(
      errorLike('ERR_MACHINERY_TASK_ALREADY_REGISTERED', 'Task add is registered already'),
    );
  });

  it('belong to their server', () => {
    const [one, other] = [testServer().server, testServer().server];
    one.registerTask('a', sum);
    expect(other.isTaskRegistered('a')).toBe(false);
  });
});

describe('what is no task is refused', () => {
  const invalid = (message: string | RegExp) => errorLike('ERR_MACHINERY_INVALID_OPTION', message);
  it.each<[string, (server: ReturnType<typeof testServer>['server']) => void, string | RegExp]>([
    [
      'a name given to handle',
      (server) => server.handle('add' as never, (() => 1) as never),
      'handle: expected a task made by defineTask, got `add` (string); registerTask takes a name and a function',
    ],
    [
      'a function given to handle',
      (server) => server.handle(sum as never, (() => 1) as never),
      /^handle: expected a task/,
    ],
    ['null given to handle', (server) => server.handle(null as never, (() => 1) as never), /^handle: expected a task/],
    [
      'no handler',
      (server) => server.handle(add, undefined as never),
      "handle('add'): expected a function, got `undefined` (undefined)",
    ],
    [
      'an empty name',
      (server) => server.registerTask('', sum),
      "Expected a task's name to be a string that is not empty, got `` (string)",
    ],
    [
      'no function',
      (server) => server.registerTask('a', 5 as never),
      'Expected task a to be a function, got `5` (number)',
    ],
    [
      'functions without names',
      (server) => server.registerTasks([sum] as never),
      /^registerTasks: expected an object of functions, got `.*` \(array\)$/,
    ],
    [
      'nothing',
      (server) => server.registerTasks(undefined as never),
      'registerTasks: expected an object of functions, got `undefined` (undefined)',
    ],
  ])('%s', async (_, register, message) => {
    const { server } = testServer();
    expect(await thrownBy(() => register(server))).toEqual(invalid(message));
    expect(server.getRegisteredTaskNames()).toEqual([]);
  });

  it('all of registerTasks or none', async () => {
    const { server } = testServer();
    await thrownBy(() => server.registerTasks({ a: sum, b: 5 as never }));
    expect(server.getRegisteredTaskNames()).toEqual([]);
  });
});

describe('plain functions', () => {
  it('get the arguments as they come, and the context from currentTask', async () => {
    const { server, startWorker } = testServer();
    server.registerTask('plain', (...args) => [currentTask()?.signature.name, ...args.map((arg) => typeof arg)]);
    await startWorker();
    const args = [
      { type: 'int64', value: 5 },
      { type: 'int64', value: 2n ** 60n },
      { type: '[]byte', value: Buffer.from('x') },
    ];
    expect(await (await server.send({ name: 'plain', args })).get()).toEqual(['plain', 'number', 'bigint', 'object']);
  });

  it.each<[string, unknown, string, unknown, unknown?]>([
    ['an integer is int64', 3, 'int64', 3],
    ['a fraction is float64', 3.5, 'float64', 3.5],
    ['a bigint is int64', 2n ** 62n, 'int64', 2n ** 62n],
    ['a large bigint is uint64', 2n ** 63n, 'uint64', 2n ** 63n],
    ['a text is string', 'x', 'string', 'x'],
    ['a boolean is bool', false, 'bool', false],
    ['an array of integers is []int64', [1, 2], '[]int64', [1, 2]],
    ['an array of mixed numbers is []float64', [1, 2.5], '[]float64', [1, 2.5]],
    ['an array of texts is []string', ['a'], '[]string', ['a']],
    ['a Uint8Array is []byte', new Uint8Array([1]), '[]byte', 'AQ==', new Uint8Array([1])],
  ])('have results whose type is inferred: %s', async (_, returned, type, value, got = value) => {
    const { server, backend, startWorker } = testServer();
    server.registerTask('plain', () => returned);
    await startWorker();
    const result = await server.send({ name: 'plain' });
    expect(await result.get()).toEqual(got);
    expect((await backend.state(result.uuid))?.results).toEqual([{ type, value }]);
  });

  it('without a result store none', async () => {
    const { server, backend, startWorker } = testServer();
    server.registerTask('plain', () => {});
    await startWorker();
    const result = await server.send({ name: 'plain' });
    expect(await result.get()).toBeUndefined();
    expect((await backend.state(result.uuid))?.results).toEqual([]);
  });

  it.each([
    ['an object', {}],
    ['null', null],
    ['an empty array', []],
  ])('fail with %s as a result, whose type cannot be told', async (_, returned) => {
    const { server, startWorker } = testServer();
    server.registerTask('plain', () => returned);
    await startWorker();
    await expect((await server.send({ name: 'plain' })).get()).rejects.toMatchObject({
      code: 'ERR_MACHINERY_TASK_FAILED',
      message: expect.stringMatching(/^The result of task plain: .*(type)/),
    });
  });
});
