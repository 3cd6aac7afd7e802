// What is no signature, or cannot travel: refused before anything is published or stored.

import { describe, expect, it } from 'vitest';
import { defineTask, int64, type MachineryErrorCode, rest, type Signature } from '../../src/index.ts';
import { bodies, errorLike, expectNothingSent, testServer, thrownBy } from './setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });

async function refusal(signature: unknown, options?: object): Promise<unknown> {
  const test = testServer();
  const error = await thrownBy(() => test.server.send(signature as never, options as never));
  expectNothingSent(test);
  return error;
}

describe('send refuses what is no signature', () => {
  const invalid = (message: string | RegExp) => errorLike('ERR_MACHINERY_INVALID_SIGNATURE', message);
  const cases: [string, unknown, string | RegExp][] = [
    ['undefined', undefined, 'Expected a signature, got `undefined` (undefined)'],
    ['null', null, 'Expected a signature, got `null` (null)'],
    ['a text', 'add', 'Expected a signature, got `add` (string)'],
    [
      'an array',
      [add(1)],
      /^Expected a signature, got `\[.*` \(array\): make it a workflow with chain, group or chord$/,
    ],
    ['a task that was not called', add, /^Expected a signature, got .*: call the task to get one$/],
    ['no name', {}, 'Expected `name` to be a string that is not empty, got `undefined` (undefined)'],
    ['an empty name', { name: '' }, 'Expected `name` to be a string that is not empty, got `` (string)'],
    ['a wrong uuid', { name: 'a', uuid: 5 }, 'Task a: expected `uuid` to be a string, got `5` (number)'],
    ['a wrong queue', { name: 'a', routingKey: 5 }, 'Task a: expected `routingKey` to be a string, got `5` (number)'],
    [
      'a wrong ETA',
      { name: 'a', eta: new Date(Number.NaN) },
      'Task a: expected `eta` to be a valid Date or RFC 3339 text, got `Invalid Date` (object)',
    ],
    [
      'an ETA that is no time',
      { name: 'a', eta: 'tomorrow' },
      'Task a: expected `eta` to be a valid Date or RFC 3339 text, got `tomorrow` (string)',
    ],
    ['args that are no array', { name: 'a', args: {} }, 'Task a: expected `args` to be an array, got `{}` (object)'],
    [
      'an argument without a type',
      { name: 'a', args: [1] },
      'Task a: expected `args[0]` to be { type, value }, got `1` (number)',
    ],
    [
      'a priority out of range',
      { name: 'a', priority: 256 },
      'Task a: expected `priority` to be an integer >= 0 and <= 255, got `256` (number)',
    ],
    [
      'a negative retry count',
      { name: 'a', retryCount: -1 },
      'Task a: expected `retryCount` to be an integer >= 0, got `-1` (number)',
    ],
    [
      'headers that are none',
      { name: 'a', headers: [] },
      'Task a: expected `headers` to be an object, got `[]` (array)',
    ],
    [
      'callbacks that are no array',
      { name: 'a', onSuccess: add(1) },
      /^Task a: expected `onSuccess` to be an array, got `{"name":"add"/,
    ],
    [
      'a callback that is none',
      { name: 'a', onSuccess: [add(1), 'x'] },
      'Expected onSuccess[1] to be a signature, got `x` (string)',
    ],
    [
      'a callback that was not called',
      { name: 'a', onError: [add] },
      /^Expected onError\[0\] to be a signature, got .* \(function\): call the task to get one$/,
    ],
    [
      'a wrong field deep inside',
      { name: 'a', onSuccess: [{ name: 'b', chordCallback: { name: 'c', immutable: 1 } }] },
      'Task c: expected `onSuccess[0].chordCallback.immutable` to be a boolean, got `1` (number)',
    ],
    [
      'a delayed callback, which has no time to count from',
      add(1).with({ onSuccess: [add.partial().with({ delayMs: 5 })] }),
      /^Task add \(onSuccess\[0\]\): `delayMs` is not for callbacks/,
    ],
  ];

  it.each(cases)('%s', async (_, signature, message) => {
    expect(await refusal(signature)).toEqual(invalid(message));
  });

  it.each(cases.slice(0, 5))('%s, with options too', async (_, signature, message) => {
    expect(await refusal(signature, { queue: 'q' })).toEqual(invalid(message));
  });
});

describe('send refuses arguments', () => {
  it.each<[string, object, string]>([
    ['of an unsupported type', { type: 'decimal', value: 1 }, 'decimal is not one of supported types'],
    ['of a type that looks right', { type: 'Int64', value: 1 }, 'Int64 is not one of supported types'],
    ['of a slice of slices', { type: '[][]int64', value: [] }, '[][]int64 is not one of supported types'],
    ['of another type', { type: 'int64', value: 'x' }, 'x is not int64'],
    ['out of range', { type: 'int8', value: 128 }, '128 is not int8 (an integer from -128 to 127)'],
    [
      'that are NaN',
      { type: 'float64', value: Number.NaN },
      'NaN is not float64 (a finite number of at most 1.7976931348623157e+308)',
    ],
    ['without a value', { type: 'string' }, '<nil> is not string'],
    ['with bytes that are no base64', { type: '[]byte', value: 'ab!' }, 'illegal base64 data at input byte 2'],
  ])('%s', async (_, arg, why) => {
    const invalid = (path: string, task: string) =>
      errorLike('ERR_MACHINERY_INVALID_ARGUMENT', `Task ${task}: \`${path}\`: ${why}`);
    const fine = { type: 'bool', value: true };
    expect(await refusal({ name: 'a', args: [fine, arg] })).toEqual(invalid('args[1]', 'a'));
    expect(await refusal({ name: 'a', onError: [{ name: 'b', args: [arg] }] })).toEqual(
      invalid('onError[0].args[0]', 'b'),
    );
  });

  it('and headers that cannot be encoded', async () => {
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    expect(await refusal({ name: 'a', headers: { circular } })).toEqual(
      errorLike('ERR_MACHINERY_INVALID_ARGUMENT', 'Cannot write a cyclic value as JSON (at `circular.self`)'),
    );
  });
});

describe('callbacks', () => {
  const nested = (depth: number): Signature => {
    let signature: Signature = { name: 'last' };
    for (let i = 0; i < depth; i++) signature = { name: 'a', onSuccess: [signature] };
    return signature;
  };
  const tooDeep = (code: MachineryErrorCode = 'ERR_MACHINERY_CALLBACKS_TOO_DEEP') =>
    errorLike(code, 'Callbacks nest deeper than 1000, or in a circle');

  it('may nest 1,000 deep', async () => {
    const test = testServer();
    await test.server.send(nested(1_000));
    expect((await bodies(test))[0]?.match(/"Name":/g)).toHaveLength(1_001);
    expect(await test.server.pendingTasks()).toHaveLength(1);
  });

  it('may not nest 1,001 deep', async () => {
    expect(await refusal(nested(1_001))).toEqual(tooDeep());
  });

  it('may not nest 1,001 deep as chords and error callbacks', async () => {
    let signature: Signature = { name: 'last' };
    for (let i = 0; i < 1_001; i++) {
      signature = i % 2 === 0 ? { name: 'a', onError: [signature] } : { name: 'a', chordCallback: signature };
    }
    expect(await refusal(signature)).toEqual(tooDeep());
  });

  it.each(['onSuccess', 'onError', 'chordCallback'])('may not be their own %s', async (field) => {
    const signature: Record<string, unknown> = { name: 'a' };
    signature[field] = field === 'chordCallback' ? signature : [signature];
    expect(await refusal(signature)).toEqual(tooDeep());
  });

  it('may be the same one in several places', async () => {
    const test = testServer();
    const last = add.partial();
    await test.server.send(add(1).with({ onSuccess: [last, last] }));
    const [sent] = await test.server.pendingTasks();
    const uuids = sent?.onSuccess?.map(({ uuid }) => uuid);
    expect(new Set(uuids).size).toBe(2);
  });

  it('that branch in a circle are refused before they are all looked at', async () => {
    const signature: { name: string; onSuccess: unknown[] } = { name: 'a', onSuccess: [] };
    signature.onSuccess = [signature, signature];
    expect(await refusal(signature)).toEqual(tooDeep());
  });
});
