import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { maxCallbackDepth, type Signature } from '../../src/signature.ts';
import { JsonNumber } from '../../src/wire/json.ts';
import { decodeSignature, encodeSignature, encodeSignatureCanonical } from '../../src/wire/signature-codec.ts';
import { signature } from './arbitraries.ts';
import { readVectors } from './vectors.ts';

const vectors = readVectors<Record<string, string>>('signatures');
const invalidMessage = (message: string | RegExp) =>
  expect.objectContaining({ code: 'ERR_MACHINERY_INVALID_MESSAGE', message: expect.stringMatching(message) });
const invalidArgument = expect.objectContaining({ code: 'ERR_MACHINERY_INVALID_ARGUMENT' });
const tooDeep = expect.objectContaining({ code: 'ERR_MACHINERY_CALLBACKS_TOO_DEEP' });

function chain(depth: number, innermost: Partial<Signature> = {}): Signature {
  let head: Signature = { name: 'last', ...innermost };
  for (let i = 0; i < depth; i++) head = { name: 'task', onSuccess: [head] };
  return head;
}

describe('what Go printed', () => {
  it.each(Object.entries(vectors).filter(([name]) => name !== 'empty'))('is printed the same again: %s', (_, text) => {
    const decoded = decodeSignature(text);
    expect(encodeSignatureCanonical(decoded)).toBe(text);
    expect(decodeSignature(encodeSignature(decoded))).toStrictEqual(decoded);
  });

  it('is printed for the empty signature, which is no message', () => {
    expect(encodeSignatureCanonical({ name: '' })).toBe(vectors.empty);
    expect(() => decodeSignature(vectors.empty as string)).toThrow(
      invalidMessage('^Expected Name to be the name of a task'),
    );
  });

  it('has absent properties for what is null or zero', () => {
    expect(decodeSignature(vectors.plain as string)).toStrictEqual({
      uuid: 'task_1',
      name: 'add',
      args: [
        { type: 'int64', value: 1 },
        { type: 'int64', value: 1 },
      ],
    });
  });

  it('keeps what is empty but not null, and values of unknown types, as they are', () => {
    const text = (vectors.empty as string)
      .replace('"Name":""', '"Name":"a"')
      .replace('"Args":null,"Headers":null', '"Args":[{"Name":"","Type":"x","Value":{"a":1e400,"b":1.0}}],"Headers":{}')
      .replace('"OnSuccess":null', '"OnSuccess":[]');
    expect(encodeSignatureCanonical(decodeSignature(text))).toBe(text);
  });
});

describe('the compact form', () => {
  it('leaves out what is at its zero value', () => {
    expect(
      encodeSignature({ uuid: 'task_1', name: 'add', routingKey: 'q', args: [{ name: '', type: 'int64', value: 1 }] }),
    ).toBe('{"UUID":"task_1","Name":"add","RoutingKey":"q","Args":[{"Type":"int64","Value":1}]}');
    expect(encodeSignature({ uuid: '', name: 'a', retryCount: 0, immutable: false, priority: 0, groupUuid: '' })).toBe(
      '{"Name":"a"}',
    );
  });

  it('decodes to the same as the canonical form, which is the signature itself', () => {
    fc.assert(
      fc.property(signature, (original) => {
        deepStrictEqual(decodeSignature(encodeSignature(original)), original);
        deepStrictEqual(decodeSignature(encodeSignatureCanonical(original)), original);
      }),
      { numRuns: 200 },
    );
  });

  it('takes a Date, and a time with another offset', () => {
    expect(encodeSignature({ name: 'a', eta: new Date('2026-11-21T08:00:00.500Z') })).toBe(
      '{"Name":"a","ETA":"2026-11-21T08:00:00.5Z"}',
    );
    expect(encodeSignature({ name: 'a', eta: '2026-11-21T08:00:00.5+01:00' })).toBe(
      '{"Name":"a","ETA":"2026-11-21T07:00:00.5Z"}',
    );
  });

  it.each([
    ['an invalid Date', { name: 'a', eta: new Date(Number.NaN) }],
    ['a time that is none', { name: 'a', eta: 'soon' }],
    ['a priority above 255', { name: 'a', priority: 256 }],
    ['a fraction of a retry', { name: 'a', retryCount: 1.5 }],
    ['a value that JSON cannot hold', { name: 'a', args: [{ type: 'float64', value: Number.NaN }] }],
    ['a header that JSON cannot hold', { name: 'a', headers: { f: () => 1 } }],
  ])('refuses %s', (_, broken) => {
    expect(() => encodeSignature(broken)).toThrow(invalidArgument);
    expect(() => encodeSignatureCanonical(broken)).toThrow(invalidArgument);
  });
});

describe('decodeSignature', () => {
  it('matches names in any case, and the last in the text counts, as in Go', () => {
    expect(
      decodeSignature(
        '{"name":"a","NAME":"b","uuid":"u","args":[{"type":"int64","VALUE":1,"Type":"int8"}],"sqsreceipthandle":"s"}',
      ),
    ).toStrictEqual({
      name: 'b',
      uuid: 'u',
      args: [{ type: 'int8', value: 1 }],
      sqsReceiptHandle: 's',
    });
    expect(decodeSignature('{"Name":"b","name":"a"}').name).toBe('a');
    expect(decodeSignature('{"name":"a","Name":"b"}').name).toBe('b');
    expect(decodeSignature('{"Name":"a","name":null,"Name":"c"}').name).toBe('c');
    expect(decodeSignature('{"name":"a","onsuccess":[{"name":"b"}],"OnSuccess":null}')).toStrictEqual({ name: 'a' });
    expect(decodeSignature('{"Name":"a","\u017fQSReceiptHandle":"s","bro\u212aerMessageGroupId":"g"}')).toStrictEqual({
      name: 'a',
      sqsReceiptHandle: 's',
      brokerMessageGroupId: 'g',
    });
  });

  it('ignores fields that Go does not have', () => {
    expect(decodeSignature('{"Name":"a","X":{"Name":1},"__proto__":{"UUID":"x"},"toString":1}')).toStrictEqual({
      name: 'a',
    });
  });

  it('keeps the numbers and the keys of headers whatever they are', () => {
    const { headers } = decodeSignature('{"Name":"a","Headers":{"__proto__":{"x":1.0},"n":9007199254740993}}');
    deepStrictEqual(Object.entries(headers ?? {}), [
      ['__proto__', { x: new JsonNumber('1.0') }],
      ['n', 9007199254740993n],
    ]);
    expect('x' in {}).toBe(false);
  });

  it('takes a null among the arguments for the zero argument, as Go does', () => {
    expect(decodeSignature('{"Name":"a","Args":[null,{}]}').args).toStrictEqual([
      { type: '', value: null },
      { type: '', value: null },
    ]);
  });

  it('keeps an ETA with all its digits and writes other offsets as UTC', () => {
    expect(decodeSignature('{"Name":"a","ETA":"2026-11-21T08:00:00.1234567890Z"}').eta).toBe(
      '2026-11-21T08:00:00.1234567890Z',
    );
    expect(decodeSignature('{"Name":"a","ETA":"2026-11-21T08:00:00.10+01:00"}').eta).toBe('2026-11-21T07:00:00.10Z');
  });

  it.each([
    ['{"Name":1}', 'Expected Name to be a string, got `1` (number)'],
    ['{"UUID":{},"Name":"a"}', 'Expected UUID to be a string, got `{}` (object)'],
    ['{"Name":"a","Priority":256}', 'Expected Priority to be an integer from 0 to 255, got `256` (number)'],
    ['{"Name":"a","Priority":-1}', 'Expected Priority to be an integer from 0 to 255, got `-1` (number)'],
    ['{"Name":"a","Priority":1.0}', 'Expected Priority to be an integer from 0 to 255, got `1.0` (number)'],
    ['{"Name":"a","Priority":"1"}', 'Expected Priority to be an integer from 0 to 255, got `"1"` (string)'],
    ['{"Name":"a","RetryCount":1e400}', /^Expected RetryCount to be an integer from .* got `1e400` \(number\)/],
    ['{"Name":"a","RetryTimeout":1.5}', /^Expected RetryTimeout to be an integer from .* got `1.5` \(number\)/],
    ['{"Name":"a","GroupTaskCount":9223372036854775808}', /^Expected GroupTaskCount to be an integer .* \(bigint\)/],
    ['{"Name":"a","Immutable":1}', 'Expected Immutable to be a boolean, got `1` (number)'],
    ['{"Name":"a","Args":{}}', 'Expected Args to be an array, got `{}` (object)'],
    ['{"Name":"a","Args":[1]}', 'Expected Args[0] to be an object, got `1` (number)'],
    ['{"Name":"a","Args":[{"Type":1}]}', 'Expected Args[0].Type to be a string, got `1` (number)'],
    ['{"Name":"a","Args":[{"Type":"x","Name":[]}]}', 'Expected Args[0].Name to be a string, got `[]` (array)'],
    ['{"Name":"a","Headers":[]}', 'Expected Headers to be an object, got `[]` (array)'],
    ['{"Name":"a","Headers":1.0}', 'Expected Headers to be an object, got `1.0` (number)'],
    ['{"Name":"a","ETA":5}', 'Expected ETA to be an RFC 3339 time, got `5` (number)'],
    ['{"Name":"a","ETA":""}', 'Expected ETA to be an RFC 3339 time, got `""` (string)'],
    ['{"Name":"a","OnSuccess":[null]}', 'Expected OnSuccess[0] to be an object, got `null` (null)'],
    ['{"Name":"a","OnError":[{"UUID":"x"}]}', 'Expected Name to be the name of a task, got none'],
    ['{"Name":"a","ChordCallback":[]}', 'Expected ChordCallback to be an object, got `[]` (array)'],
    ['{}', 'Expected Name to be the name of a task, got none'],
    ['{"Name":null}', 'Expected Name to be the name of a task, got an empty one'],
    ['null', 'Expected a task message as a JSON object, got `null`'],
    ['[]', 'Expected a task message as a JSON object, got `[]`'],
    ['1.0', 'Expected a task message as a JSON object, got `1.0`'],
    ['hello', 'Expected a task message as a JSON object, got what is not JSON: `hello`'],
    ['', 'Expected a task message as a JSON object, got what is not JSON: ``'],
    ['{"Name":"a"}x', 'Expected a task message as a JSON object, got what is not JSON: `{"Name":"a"}x`'],
  ])('refuses %s', (text, message) => {
    const pattern = typeof message === 'string' ? new RegExp(`^${message.replace(/[^\w ]/g, '\\$&')}$`) : message;
    expect(() => decodeSignature(text)).toThrow(invalidMessage(pattern));
  });

  it('quotes no more than a hundred characters of what it refuses', () => {
    expect(() => decodeSignature('x'.repeat(1_000_000))).toThrow(invalidMessage(/^.{50,180}$/s));
    expect(() => decodeSignature(`{"Name":["${'x'.repeat(100_000)}"]}`)).toThrow(invalidMessage(/^.{50,180}$/s));
  });

  it('has an answer for what any bytes decode to', () => {
    const messages = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.uint8Array().map((bytes) => Buffer.from(bytes).toString()),
      fc.json(),
      fc.nat(400).chain((end) => fc.constantFrom(...Object.values(vectors).map((text) => text.slice(0, end)))),
      fc
        .tuple(fc.constantFrom('Name', 'ARGS', 'eta', 'OnSuccess'), fc.json())
        .map(([key, json]) => `{"Name":"a","${key}":${json}}`),
    );
    fc.assert(
      fc.property(messages, (text) => {
        try {
          decodeSignature(text);
        } catch (error) {
          expect(error).toEqual(invalidMessage(/./));
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('reads lone surrogates, which Go writes as U+FFFD', () => {
    const decoded = decodeSignature('{"Name":"a\\ud800"}');
    expect(decodeSignature(encodeSignature(decoded))).toStrictEqual(decoded);
    expect(encodeSignatureCanonical(decoded)).toContain('"Name":"a\\ufffd"');
  });
});

describe('callbacks', () => {
  it('may nest as deep as a chain may be long, also with a long integer at its end', () => {
    for (const value of [1, 2n ** 63n - 1n]) {
      const longest = chain(maxCallbackDepth, { args: [{ type: 'int64', value }] });
      // Compared as texts: comparing objects so deep takes more stack than there is.
      const text = encodeSignature(longest);
      expect(encodeSignature(decodeSignature(text)) === text).toBe(true);
      expect(encodeSignature(decodeSignature(encodeSignatureCanonical(longest))) === text).toBe(true);
    }
  });

  it('are refused when they nest deeper', () => {
    const tooLong = chain(maxCallbackDepth + 1);
    expect(() => encodeSignature(tooLong)).toThrow(tooDeep);
    expect(() => encodeSignatureCanonical(tooLong)).toThrow(tooDeep);
    const text = (depth: number, field: string, end = '') =>
      `${`{"Name":"a","${field}":${end && '['}`.repeat(depth)}{"Name":"b"}${`${end}}`.repeat(depth)}`;
    expect(() => decodeSignature(text(1_001, 'OnSuccess', ']'))).toThrow(tooDeep);
    expect(() => decodeSignature(text(1_001, 'onerror', ']'))).toThrow(tooDeep);
    expect(() => decodeSignature(text(1_001, 'ChordCallback'))).toThrow(tooDeep);
    expect(() => decodeSignature(text(100_000, 'OnSuccess', ']'))).toThrow(invalidMessage('not JSON'));
  });

  it('in another case are read once at each level, not twice', () => {
    const depth = 900;
    const text = `${'{"OnSuccess":['.repeat(depth)}{"Name":"b"}${'],"name":"a"}'.repeat(depth)}`;
    expect(decodeSignature(text).name).toBe('a');
  });

  it('are refused when a signature is its own callback', () => {
    const circular: { name: string; onSuccess?: Signature[]; chordCallback?: Signature } = { name: 'a' };
    circular.onSuccess = [circular, circular];
    expect(() => encodeSignature(circular)).toThrow(tooDeep);
    expect(() => encodeSignatureCanonical({ name: 'b', chordCallback: circular })).toThrow(tooDeep);
  });
});
