import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { MachineryError } from '../../src/errors.ts';
import { goStringify, JsonNumber, parseJson, stringifyJson } from '../../src/wire/json.ts';
import { jsonValue } from './arbitraries.ts';

const lossless = await vi.hoisted(async () => {
  const { vi } = await import('vitest');
  return { parse: vi.fn() };
});
vi.mock('lossless-json', async (original) => {
  const module = await original<typeof import('lossless-json')>();
  lossless.parse.mockImplementation(module.parse);
  return { ...module, parse: lossless.parse };
});

const invalidArgument = expect.objectContaining({ code: 'ERR_MACHINERY_INVALID_ARGUMENT' });

describe('parseJson', () => {
  it.each([
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
    ['9007199254740992', 2n ** 53n],
    ['-9007199254740993', -(2n ** 53n) - 1n],
    ['18446744073709551615', 2n ** 64n - 1n],
    ['1', 1],
    ['-0', -0],
    ['0.1', 0.1],
    ['1.5e-7', 1.5e-7],
    ['1e+21', 1e21],
    ['0.8444218515250481', 0.8444218515250481],
    ['1.0', new JsonNumber('1.0')],
    ['-0.0', new JsonNumber('-0.0')],
    ['1.50', new JsonNumber('1.50')],
    ['1e2', new JsonNumber('1e2')],
    ['1E2', new JsonNumber('1E2')],
    ['1e400', new JsonNumber('1e400')],
    ['0.0000001', new JsonNumber('0.0000001')],
    ['0.1000000000000000055', new JsonNumber('0.1000000000000000055')],
    ['9'.repeat(2_000), new JsonNumber('9'.repeat(2_000))],
  ])('reads the number %s without loss, wherever it stands', (literal, expected) => {
    expect(parseJson(literal)).toStrictEqual(expected);
    expect(parseJson(` ${literal}\n`)).toStrictEqual(expected);
    expect(parseJson(`[${literal}]`)).toStrictEqual([expected]);
    expect(parseJson(`[1, ${literal} ,\t${literal},"${literal}"]`)).toStrictEqual([1, expected, expected, literal]);
    expect(parseJson(`{"a":{"b":${literal}},"c":\r\n${literal}}`)).toStrictEqual({ a: { b: expected }, c: expected });
  });

  it.each([
    ['UUIDs with exponents in them', '{"UUID":"task_12e5f1a2-8e51-4e55-8e58-1e2345678901","a":"8e5"}'],
    ['times', '["2026-11-21T08:00:00.123456789Z","2026-11-21T08:00:00.120Z","2026-11-21T08:00:00.10+00:00"]'],
    ['small numbers', '{"a":1,"b":-17,"c":[0.1,1.5,100,0,-0],"d":123456789012345,"e": 10}'],
    ['doubles that need all their digits', '[0.8444218515250481,1e+21,1.7976931348623157e+308,5e-324]'],
    ['long digits in texts', '["1234567890123456789","17 1.0x","id:1e400:"]'],
  ])('takes the fast path for %s', (_, text) => {
    lossless.parse.mockClear();
    expect(parseJson(text)).toStrictEqual(JSON.parse(text));
    expect(lossless.parse).not.toHaveBeenCalled();
  });

  it.each([
    '',
    ' ',
    '{',
    '[1.0',
    '{"a":1.0,}',
    '[1.0,]',
    '01',
    '1.',
    '.5',
    '+1',
    '1e',
    '[1e400',
    '"\u0001"',
    '"\\x"',
    'NaN',
    '{}x',
    '{a:1}',
    '[1.0] x',
    '-',
    '[1.2.3.4.5.6.7.8.9]',
    '[00000000000000000]',
    '\ufeff{}',
    "{'a':1.0}",
  ])('throws a SyntaxError for %j', (text) => {
    expect(() => parseJson(text)).toThrow(SyntaxError);
  });

  it.each(['1', '1.0'])('keeps __proto__ an ordinary key beside the number %s', (literal) => {
    const value = parseJson(
      `{"__proto__":{"polluted":${literal}},"constructor":{"prototype":{"polluted":1}}}`,
    ) as object;
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.keys(value)).toStrictEqual(['__proto__', 'constructor']);
    expect('polluted' in {}).toBe(false);
    deepStrictEqual(parseJson(stringifyJson(value)), value);
  });

  it('lets the last of duplicate keys count on both paths', () => {
    expect(parseJson('{"a":1,"a":2}')).toStrictEqual({ a: 2 });
    expect(parseJson('{"a":1.0,"a":2,"__proto__":1,"__proto__":3}')).toStrictEqual(JSON.parse('{"a":2,"__proto__":3}'));
  });

  it.each([1, 3])('gives an error for 100,000 brackets, closed or not, with the number %s in them', (n) => {
    for (const literal of [String(n), `${n}.0`]) {
      for (const [open, close] of [
        ['[', ']'],
        ['{"a":', '}'],
        ['[{"a":', '}]'],
      ] as const) {
        const deep = open.repeat(100_000) + literal;
        expect(() => parseJson(deep)).toThrow(SyntaxError);
        expect(() => parseJson(deep + close.repeat(100_000))).toThrow(SyntaxError);
      }
    }
  });

  it('does not take brackets in texts for nesting', () => {
    const text = JSON.stringify({ a: '['.repeat(10_000), b: '\\"[{'.repeat(10_000), c: '\\' });
    expect(parseJson(text)).toStrictEqual(JSON.parse(text));
  });

  it('reads the nesting of a full chain with a long integer at its end', () => {
    const text = `${'{"OnSuccess":['.repeat(1_000)}18446744073709551615${']}'.repeat(1_000)}`;
    expect(stringifyJson(parseJson(text))).toBe(text);
  });

  it('agrees with JSON.parse once its numbers are rounded to doubles', () => {
    const rounded = (_: string, value: unknown) => (typeof value === 'bigint' ? Number(value) : value);
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(JSON.stringify(parseJson(text), rounded)).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });

  it('reads back what stringifyJson and goStringify wrote', () => {
    fc.assert(
      fc.property(jsonValue, (value) => {
        deepStrictEqual(parseJson(stringifyJson(value)), value);
        deepStrictEqual(parseJson(goStringify(value)), value);
      }),
    );
  });
});

describe('stringifyJson', () => {
  it('writes what JSON.stringify writes', () => {
    const value = { a: [1, -1.5, 1e21, null, true], b: undefined, c: { d: 'é"\n\ud800' }, e: new Date(0), f: [] };
    expect(stringifyJson(value)).toBe(JSON.stringify(value));
    expect(stringifyJson('a"\\\u0000\u2028\ud800')).toBe(JSON.stringify('a"\\\u0000\u2028\ud800'));
  });

  it('writes long integers, kept literals and minus zero as bare numbers', () => {
    expect(stringifyJson({ a: 2n ** 64n, b: new JsonNumber('1.0'), c: [-0] })).toBe(
      '{"a":18446744073709551616,"b":1.0,"c":[-0]}',
    );
    expect(stringifyJson(-0)).toBe('-0');
    expect(stringifyJson(0)).toBe('0');
  });

  it('writes bytes as base64, as Go does', () => {
    expect(stringifyJson({ a: new Uint8Array([1, 2]), b: Buffer.from([255]) })).toBe('{"a":"AQI=","b":"/w=="}');
  });

  const cyclic: unknown[] = [];
  cyclic.push({ cyclic });
  it.each([
    ['NaN', Number.NaN, 'Cannot write NaN as JSON'],
    ['Infinity', { a: [1, -Infinity] }, 'Cannot write -Infinity as JSON (at `a[1]`)'],
    ['a function', { a: () => 1 }, 'Cannot write a function as JSON (at `a`)'],
    ['a symbol', [Symbol('x')], 'Cannot write a symbol as JSON (at `[0]`)'],
    ['undefined in an array', { a: [undefined] }, 'Cannot write undefined as JSON (at `a[0]`)'],
    ['a hole', new Array(1), 'Cannot write undefined as JSON (at `[0]`)'],
    ['undefined', undefined, 'Cannot write undefined as JSON'],
    ['a cycle', cyclic, 'Cannot write a cyclic value as JSON (at `[0].cyclic`)'],
  ])('refuses %s and says where it is', (_, value, message) => {
    for (const write of [stringifyJson, goStringify]) {
      expect(() => write(value)).toThrow(expect.objectContaining({ code: 'ERR_MACHINERY_INVALID_ARGUMENT', message }));
    }
  });

  it('refuses what is nested too deep without using up the stack', () => {
    let deep: unknown = 1;
    for (let i = 0; i < 100_000; i++) deep = [deep];
    expect(() => stringifyJson(deep)).toThrow(invalidArgument);
    expect(() => goStringify(deep)).toThrow(invalidArgument);
  });

  it('writes the same value twice where it is no cycle', () => {
    const shared = { a: 1n };
    expect(stringifyJson([shared, shared])).toBe('[{"a":1},{"a":1}]');
  });
});

describe('goStringify', () => {
  it('escapes what Go escapes', () => {
    let controls = '';
    for (let code = 0; code < 0x20; code++) controls += String.fromCharCode(code);
    // Printed by Go 1.26.
    expect(goStringify(`${controls}\u007f\u0080\u2028\u2029\ufffd/<>&'"\\`)).toBe(
      `"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f\\u0010\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b\\u001c\\u001d\\u001e\\u001f\u007f\u0080\\u2028\\u2029\ufffd/\\u003c\\u003e\\u0026'\\"\\\\"`,
    );
  });

  it('writes lone surrogates as \\ufffd and leaves pairs alone', () => {
    expect(goStringify('a\ud800b😀\udc00\ud800\ud800<')).toBe('"a\\ufffdb😀\\ufffd\\ufffd\\ufffd\\u003c"');
  });

  it('orders keys by code point at every level', () => {
    expect(goStringify({ '\u{1f600}': 1, '\uffff': 2, b: { d: 1, c: 2 }, a: 3, '<': 4, '': 5, ab: 6 })).toBe(
      '{"":5,"\\u003c":4,"a":3,"ab":6,"b":{"c":2,"d":1},"\uffff":2,"😀":1}',
    );
  });
});

describe('JsonNumber', () => {
  it('keeps its text and converts to the nearest double', () => {
    const number = new JsonNumber('1.0');
    expect([`${number}`, Number(number), JSON.stringify([number])]).toStrictEqual(['1.0', 1, '[1]']);
    expect(JSON.stringify(new JsonNumber('1e400'))).toBe('"1e400"');
  });

  it.each(['', '1,"a":2', '01', 'NaN', '1.', ' 1', '1\n'])('refuses %j, which is no number in JSON', (text) => {
    expect(() => new JsonNumber(text)).toThrow(MachineryError);
  });
});
