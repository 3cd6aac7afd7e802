// Declared tasks: what arguments become on the wire, and what is refused before anything is sent.

import { describe, expect, it } from 'vitest';
import {
  type AnyType,
  bigInt64,
  bigUint64,
  bool,
  bytes,
  defineTask,
  float32,
  float64,
  int,
  int8,
  int16,
  int32,
  int64,
  json,
  rest,
  slice,
  string,
  uint,
  uint8,
  uint16,
  uint32,
  uint64,
} from '../../src/index.ts';
import { errorLike, onlyMessage, testServer, thrownBy } from './setup.ts';

const invalidArgument = (message: string) => errorLike('ERR_MACHINERY_INVALID_ARGUMENT', message);
const invalidOption = (message: string | RegExp) => errorLike('ERR_MACHINERY_INVALID_OPTION', message);
const add = defineTask('add', { args: rest(int64), returns: int64 });

/** The argument as it stands in the published message, as text: numbers as long as they are. */
async function wireArg(type: AnyType, value: unknown): Promise<string> {
  const test = testServer();
  await test.server.send(defineTask('t', { args: [type] })(value));
  const [body = ''] = await test.broker.memory.pendingMessages('q', 1);
  return /"Args":\[(.*)\]\}$/.exec(body)?.[1] ?? body;
}

describe('on the wire, as Go expects it', () => {
  it.each<[string, AnyType, unknown, string]>([
    ['a bool', bool, true, '{"Type":"bool","Value":true}'],
    ['a false bool', bool, false, '{"Type":"bool","Value":false}'],
    ['a string', string, 'föö\n', '{"Type":"string","Value":"föö\\n"}'],
    ['an empty string', string, '', '{"Type":"string","Value":""}'],
    ['int', int, -1, '{"Type":"int","Value":-1}'],
    ['int8', int8, -128, '{"Type":"int8","Value":-128}'],
    ['int16', int16, 32_767, '{"Type":"int16","Value":32767}'],
    ['int32', int32, -(2 ** 31), '{"Type":"int32","Value":-2147483648}'],
    ['int64', int64, 2 ** 53 - 1, '{"Type":"int64","Value":9007199254740991}'],
    ['uint', uint, 0, '{"Type":"uint","Value":0}'],
    ['uint8', uint8, 255, '{"Type":"uint8","Value":255}'],
    ['uint16', uint16, 65_535, '{"Type":"uint16","Value":65535}'],
    ['uint32', uint32, 2 ** 32 - 1, '{"Type":"uint32","Value":4294967295}'],
    ['uint64', uint64, 1, '{"Type":"uint64","Value":1}'],
    ['the largest int64', bigInt64, 2n ** 63n - 1n, '{"Type":"int64","Value":9223372036854775807}'],
    ['the smallest int64', bigInt64, -(2n ** 63n), '{"Type":"int64","Value":-9223372036854775808}'],
    ['the largest uint64', bigUint64, 2n ** 64n - 1n, '{"Type":"uint64","Value":18446744073709551615}'],
    ['a bigint type with a number', bigInt64, 5, '{"Type":"int64","Value":5}'],
    ['float32', float32, 0.1, '{"Type":"float32","Value":0.1}'],
    ['float64', float64, 1.5, '{"Type":"float64","Value":1.5}'],
    ['float64 with a whole number', float64, 2, '{"Type":"float64","Value":2}'],
    ['bytes', bytes, Buffer.from('foo'), '{"Type":"[]byte","Value":"Zm9v"}'],
    ['no bytes', bytes, new Uint8Array(), '{"Type":"[]byte","Value":""}'],
    ['a slice of int64', slice(int64), [1, -2], '{"Type":"[]int64","Value":[1,-2]}'],
    ['an empty slice', slice(string), [], '{"Type":"[]string","Value":[]}'],
    ['a slice of bool', slice(bool), [true, false], '{"Type":"[]bool","Value":[true,false]}'],
    ['a slice of float32', slice(float32), [0.1], '{"Type":"[]float32","Value":[0.1]}'],
    ['a slice of bigint', slice(bigUint64), [2n ** 64n - 1n], '{"Type":"[]uint64","Value":[18446744073709551615]}'],
    ['a slice of uint8 as base64', slice(uint8), [102, 111, 111], '{"Type":"[]uint8","Value":"Zm9v"}'],
    ['JSON as a string', json(), { a: [1, null] }, '{"Type":"string","Value":"{\\"a\\":[1,null]}"}'],
    ['a slice of JSON', slice(json()), [1, 'x'], '{"Type":"[]string","Value":["1","\\"x\\""]}'],
  ])('%s', async (_, type, value, expected) => {
    expect(await wireArg(type, value)).toBe(expected);
  });

  it('has no Args for a task that takes none', async () => {
    const test = testServer();
    await test.server.send(defineTask('none')());
    expect((await onlyMessage(test)).Args ?? []).toEqual([]);
  });

  it('has fixed arguments before those of a rest', () => {
    const format = defineTask('format', { args: [string, rest(float64)] });
    expect(format('%s', 1, 2).args?.map(({ type }) => type)).toEqual(['string', 'float64', 'float64']);
  });
});

describe('an argument is refused', () => {
  it.each<[string, AnyType, unknown, string]>([
    ['of a wrong type', int64, 'x', 'x is not int64 (it is a string)'],
    ['with a fraction', int64, 1.5, '1.5 is not int64 (an integer from -9223372036854775808 to 9223372036854775807)'],
    ['out of range', uint8, 256, '256 is not uint8 (an integer from 0 to 255)'],
    ['negative for an unsigned type', uint64, -1, '-1 is not uint64 (an integer from 0 to 18446744073709551615)'],
    ['NaN for a float', float64, Number.NaN, 'NaN is not float64 (a finite number of at most 1.7976931348623157e+308)'],
    [
      'NaN for an integer',
      int64,
      Number.NaN,
      'NaN is not int64 (an integer from -9223372036854775808 to 9223372036854775807)',
    ],
    ['too large for float32', float32, 1e39, '1e+39 is not float32 (a finite number of at most 3.4028235e+38)'],
    ['undefined', string, undefined, '<nil> is not string (it is undefined)'],
    ['null', bool, null, '<nil> is not bool'],
    ['no array for a slice', slice(int64), 1, 'Expected an array for []int64, got `1` (number)'],
    ['a wrong element of a slice', slice(int64), [1, 'x'], 'x is not int64'],
    ['that has no JSON form', json(), undefined, '`undefined` (undefined) has no JSON form'],
    ['that has no JSON form, as it holds a bigint', json(), { a: 1n }, '`[object Object]` (object) has no JSON form'],
  ])('%s', async (_, type, value, why) => {
    const task = defineTask('t', { args: [string, type] });
    expect(await thrownBy(() => task('first', value))).toEqual(invalidArgument(`Argument 2 of task t: ${why}`));
  });

  it.each([
    ['int64', int64],
    ['uint64', uint64],
    ['int', int],
    ['uint', uint],
    ['bigInt64', bigInt64],
    ['bigUint64', bigUint64],
  ] as [string, AnyType][])('as a number beyond 2^53 for %s, which may have been rounded before', async (_, type) => {
    const task = defineTask('t', { args: [type] });
    expect(await thrownBy(() => task(2 ** 53))).toMatchObject({ code: 'ERR_MACHINERY_INVALID_ARGUMENT' });
  });

  it('with the issues of its schema', async () => {
    const schema = {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        validate: (value: unknown) =>
          typeof value === 'number' ? { value } : { issues: [{ message: 'not a number', path: ['a', { key: 0 }] }] },
      },
    };
    const task = defineTask('t', { args: [json(schema)] });
    expect(task(1).args).toEqual([{ type: 'string', value: '1' }]);
    expect(await thrownBy(() => task('x'))).toEqual(
      invalidArgument('Argument 1 of task t: `x` (string) does not match its schema: a.0: not a number'),
    );
  });

  it('when it is missing, or one too much', async () => {
    const minus = defineTask('minus', { args: [int64, int64] }) as (...args: unknown[]) => unknown;
    const format = defineTask('format', { args: [string, rest(int64)] }) as (...args: unknown[]) => unknown;
    expect(await thrownBy(() => minus(1))).toEqual(invalidArgument('Task minus takes 2 argument(s), got 1'));
    expect(await thrownBy(() => minus(1, 2, 3))).toEqual(invalidArgument('Task minus takes 2 argument(s), got 3'));
    expect(await thrownBy(() => format())).toEqual(invalidArgument('Task format takes at least 1 argument(s), got 0'));
  });

  it('when there is one too much for partial', async () => {
    const minus = defineTask('minus', { args: [int64, int64] });
    expect(minus.partial(1).args).toEqual([{ type: 'int64', value: 1 }]);
    expect(await thrownBy(() => minus.partial(...([1, 2, 3] as unknown as [number])))).toEqual(
      invalidArgument('Task minus takes 2 argument(s), got 3'),
    );
  });
});

describe('a declaration', () => {
  it('has its name, arguments and results as properties', () => {
    expect(add.name).toBe('add');
    expect(add.args).toEqual({ rest: int64 });
    expect(add.returns).toBe(int64);
    expect(defineTask('none').args).toEqual([]);
    expect(defineTask('none').returns).toBeUndefined();
  });

  it('gives its defaults to every signature', () => {
    const task = defineTask('t', {
      queue: 'slow',
      priority: 9,
      retries: 3,
      backoff: { delayMs: 50, jitter: 0.5 },
      timeoutMs: 1_000,
      ignoreWhenTaskNotRegistered: true,
    });
    const expected = {
      name: 't',
      args: [],
      routingKey: 'slow',
      priority: 9,
      retryCount: 3,
      ignoreWhenTaskNotRegistered: true,
      headers: { 'machinery-timeout-ms': '1000', 'machinery-backoff': '{"delayMs":50,"jitter":0.5}' },
    };
    expect(task()).toMatchObject(expected);
    expect(task.partial()).toMatchObject(expected);
  });

  it.each([
    ['an empty name', () => defineTask(''), "Expected a task's name to be a string that is not empty, got `` (string)"],
    [
      'no name',
      () => defineTask(undefined as never),
      "Expected a task's name to be a string that is not empty, got `undefined` (undefined)",
    ],
    [
      'arguments that are no types',
      () => defineTask('t', { args: ['int64'] as never }),
      'defineTask(\'t\'): expected `args` to be rest(type) or an array of types of which only the last may be rest(type), got `["int64"]` (array)',
    ],
    [
      'a rest that is not the last',
      () => defineTask('t', { args: [rest(int64), int64] as never }),
      /^defineTask\('t'\): expected `args` to be rest\(type\) or an array of types/,
    ],
    [
      'a result that is no type',
      () => defineTask('t', { returns: 5 as never }),
      "defineTask('t'): expected `returns` to be a type or an array of types, got `5` (number)",
    ],
    [
      'an unknown option',
      () => defineTask('t', { retry: 5 } as never),
      "defineTask('t'): unknown option `retry`, known are queue, priority, retries, backoff, timeoutMs, ignoreWhenTaskNotRegistered, args, returns",
    ],
    [
      'a wrong default',
      () => defineTask('t', { retries: -1 }),
      "defineTask('t'): expected `retries` to be an integer >= 0 and <= 2147483647, got `-1` (number)",
    ],
    [
      'a wrong backoff',
      () => defineTask('t', { backoff: { delayMs: 5, factor: 0.5 } }),
      '`backoff` of task t: expected `factor` to be a number >= 1, got `0.5` (number)',
    ],
    [
      'no object',
      () => defineTask('t', [] as never),
      "defineTask('t'): expected its options to be an object, got `[]` (array)",
    ],
  ])('with %s is refused', async (_, run, message) => {
    expect(await thrownBy(run)).toEqual(invalidOption(message));
  });
});

describe('with', () => {
  it('answers a copy and leaves the signature alone', () => {
    const signature = add(1, 2);
    const copy = signature.with({ queue: 'slow', retries: 3, priority: 2, uuid: 'task_1', immutable: true });
    expect(copy).toMatchObject({ ...signature, routingKey: 'slow', retryCount: 3, priority: 2, uuid: 'task_1' });
    expect(copy.immutable).toBe(true);
    expect(signature).not.toHaveProperty('routingKey');
    expect(copy.with({ queue: 'slower' })).toMatchObject({ routingKey: 'slower', retryCount: 3, uuid: 'task_1' });
  });

  it('merges headers, and replaces everything else', () => {
    const [first, second] = [add(1), add(2)];
    const signature = add(1).with({ headers: { a: '1', b: '1' }, onSuccess: [first], timeoutMs: 5 });
    const copy = signature.with({ headers: { b: '2', c: '2' }, onSuccess: [second] });
    expect(copy.headers).toEqual({ a: '1', b: '2', c: '2', 'machinery-timeout-ms': '5' });
    expect(copy.onSuccess).toEqual([second]);
    expect(signature.headers).toEqual({ a: '1', b: '1', 'machinery-timeout-ms': '5' });
  });

  it('takes an ETA or a delay, and the later one of several calls', async () => {
    const eta = '2126-11-21T08:00:00.123456789Z';
    expect(await thrownBy(() => add(1).with({ eta, delayMs: 5 }))).toEqual(
      invalidOption('Options of task add: give either `eta` or `delayMs`, not both'),
    );
    const test = testServer();
    await test.server.send(add(1).with({ delayMs: 5 }).with({ eta }));
    await test.server.send(add(1).with({ eta }).with({ delayMs: 500_000_000 }));
    const [sooner, later] = await test.server.delayedTasks();
    expect(Date.parse(sooner?.eta as string) - Date.now()).toBeGreaterThan(499_000_000);
    expect(later?.eta).toBe(eta);
  });
});
