import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MachineryError } from '../../src/errors.ts';
import { fromWireValue, inferWireType, isWireType, toWireValue, type WireType } from '../../src/wire/argument-types.ts';
import { JsonNumber, parseJson, stringifyJson } from '../../src/wire/json.ts';
import { readVectors } from './vectors.ts';

interface Conversion {
  Type: string;
  Value: string;
  Go?: string;
  Error?: string;
}

function messageOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (MachineryError.is(error, 'ERR_MACHINERY_INVALID_ARGUMENT')) return error.message;
    throw error;
  }
  throw new Error('Expected an error');
}

describe("Go's conversions", () => {
  // Where Go wraps around silently, or panics, ours is an error that says so.
  const exceptions = new Map([
    ['[]byte [256]', '256 is not uint8 (an integer from 0 to 255)'],
    ['uint8 256', '256 is not uint8 (an integer from 0 to 255)'],
    ['float32 1e39', '1e39 is not float32 (a finite number of at most 3.4028235e+38)'],
  ]);

  it.each(readVectors<Conversion[]>('conversions'))(
    'takes or refuses $Type $Value as Go does',
    ({ Type, Value, Go, Error: error }) => {
      const expected = exceptions.get(`${Type} ${Value}`) ?? error;
      if (expected !== undefined) expect(messageOf(() => fromWireValue(Type, parseJson(Value)))).toBe(expected);
      else expect(stringifyJson(fromWireValue(Type, parseJson(Value)))).toBe(Go);
    },
  );

  // What Go Machinery v2.0.16 said when it was run on these.
  it.each([
    ['[]int64', '5', '53 is not int64'],
    ['[]string', '"ab"', '97 is not string'],
    ['[]byte', '[1,[2,"a b"]]', '[2 a b] is not uint8'],
    ['int8', '1e2', 'strconv.ParseInt: parsing "1e2": invalid syntax'],
    ['uint8', '-0', 'strconv.ParseUint: parsing "-0": invalid syntax'],
    ['int8', '9999999999999999999999', 'strconv.ParseInt: parsing "9999999999999999999999": value out of range'],
    ['float32', '-1e400', 'strconv.ParseFloat: parsing "-1e400": value out of range'],
    ['int8', '{"b":[1,null,"x",{}],"a":1.50}', 'map[a:1.50 b:[1 <nil> x map[]]] is not int8'],
  ])('says of %s %s what Go says', (type, json, message) => {
    expect(messageOf(() => fromWireValue(type, parseJson(json)))).toBe(message);
  });

  // Go takes these: as no elements, as the bytes of the digits, or wrapped around.
  it.each([
    ['[]int64', '""', ' is not []int64'],
    ['[]int64', '{}', 'map[] is not []int64'],
    ['[]uint16', '5', '5 is not []uint16'],
    ['[]uint16', '"AQI="', 'AQI= is not []uint16'],
    ['[]byte', '5', '5 is not []byte'],
    ['int32', '2147483648', '2147483648 is not int32 (an integer from -2147483648 to 2147483647)'],
    ['uint32', '4294967296', '4294967296 is not uint32 (an integer from 0 to 4294967295)'],
  ])('refuses %s %s, which Go takes for something else', (type, json, message) => {
    expect(messageOf(() => fromWireValue(type, parseJson(json)))).toBe(message);
  });

  it.each([
    ['A', 0],
    ['AA', 0],
    ['AAAAB', 4],
    ['AAAA\nB', 5],
    ['=', 0],
    ['A=', 1],
    ['AA=', 3],
    ['AA=A', 2],
    ['AA==A', 4],
    ['AAA=A', 4],
    ['AA é', 2],
  ])('finds the fault in the base64 %j where Go does', (text, offset) => {
    expect(messageOf(() => fromWireValue('[]byte', text))).toBe(`illegal base64 data at input byte ${offset}`);
  });

  it('skips line breaks in base64, and takes long texts', () => {
    expect(fromWireValue('[]byte', 'AA\r\nH+\n/w==\n')).toStrictEqual(new Uint8Array([0, 1, 254, 255]));
    const bytes = new Uint8Array(1_000_000).fill(7);
    expect(Buffer.compare(fromWireValue('[]byte', toWireValue('[]byte', bytes)) as Uint8Array, bytes)).toBe(0);
  });

  // Printed by Go.
  it.each([
    [2097152.25, '2097152.2'],
    [0.000244140625, '0.00024414063'],
    [123456789, '123456790'],
    [16777217, '16777216'],
    [1e-45, '1e-45'],
    [3.4028234663852886e38, '3.4028235e+38'],
    [1 / 3, '0.33333334'],
    [-0, '-0'],
  ])('shortens the float32 %d to %s', (value, text) => {
    expect(stringifyJson(toWireValue('float32', value))).toBe(text);
    expect(stringifyJson(fromWireValue('float32', value))).toBe(text);
  });
});

describe('isWireType', () => {
  it('knows the types of the wire and nothing else', () => {
    for (const type of ['bool', 'uint64', '[]uint64', '[]byte', '[]string', '[]float32'])
      expect(isWireType(type)).toBe(true);
    for (const type of ['', 'byte', 'map', 'json', '[]', '[][]int', 'Int', 'constructor', 'error'])
      expect(isWireType(type)).toBe(false);
  });
});

describe('toWireValue', () => {
  it.each([
    ['int64', 5n, 5],
    ['int64', -0, 0],
    ['uint8', -0, 0],
    ['int64', 2n ** 63n - 1n, 2n ** 63n - 1n],
    ['int64', 2n ** 60n, 2n ** 60n],
    ['uint64', new JsonNumber('18446744073709551615'), 2n ** 64n - 1n],
    ['float64', 5n, 5],
    ['float64', new JsonNumber('1.0'), 1],
    ['[]byte', new Uint8Array([1, 2]), 'AQI='],
    ['[]byte', Buffer.from('\u0001\u0002'), 'AQI='],
    ['[]byte', 'AQI=', 'AQI='],
    ['[]uint8', [1, 2n], 'AQI='],
    ['[]byte', null, ''],
    ['[]int32', new Int32Array([1, -2]), [1, -2]],
    ['[]int64', new BigInt64Array([1n, 2n ** 62n]), [1, 2n ** 62n]],
    ['[]float32', new Float32Array([0.1]), [0.1]],
    ['[]string', undefined, []],
    ['[]bool', [true], [true]],
  ] as [WireType, unknown, unknown][])('gives JSON for %s %s', (type, value, wire) => {
    expect(toWireValue(type, value)).toStrictEqual(wire);
  });

  it.each([
    ['int64', 'x', 'x is not int64'],
    ['int64', null, '<nil> is not int64'],
    ['int64', undefined, '<nil> is not int64'],
    ['int8', 128, '128 is not int8 (an integer from -128 to 127)'],
    ['int8', 1.5, '1.5 is not int8 (an integer from -128 to 127)'],
    ['uint64', -1n, '-1 is not uint64 (an integer from 0 to 18446744073709551615)'],
    [
      'int64',
      2 ** 63,
      '9223372036854776000 is not int64 (an integer from -9223372036854775808 to 9223372036854775807)',
    ],
    [
      'int64',
      2 ** 60,
      '1152921504606847000 may have been rounded before it came here, as numbers beyond 2^53 are: give a bigint for int64',
    ],
    ['int', Number.NaN, 'NaN is not int (an integer from -9223372036854775808 to 9223372036854775807)'],
    ['float64', Number.NaN, 'NaN is not float64 (a finite number of at most 1.7976931348623157e+308)'],
    ['float32', -Infinity, '-Infinity is not float32 (a finite number of at most 3.4028235e+38)'],
    ['float64', '1', '1 is not float64'],
    ['string', 1, '1 is not string'],
    ['bool', () => 1, 'a function is not bool'],
    ['[]byte', [256], '256 is not uint8 (an integer from 0 to 255)'],
    ['[]byte', 'x', 'illegal base64 data at input byte 0'],
    ['[]int64', 5, '5 is not []int64'],
    ['[]int64', [1, 'a'], 'a is not int64'],
    ['map', {}, 'map is not one of supported types'],
  ] as [WireType, unknown, string][])('refuses %s %s', (type, value, message) => {
    expect(messageOf(() => toWireValue(type, value))).toBe(message);
  });

  it('cuts the text of a huge or cyclic value', () => {
    const cyclic: unknown[] = ['x'.repeat(10_000)];
    cyclic.push(cyclic);
    expect(messageOf(() => toWireValue('bool', cyclic)).length).toBeLessThan(600);
    expect(messageOf(() => fromWireValue('int64', parseJson('9'.repeat(1_000_000)))).length).toBeLessThan(600);
  });
});

describe('a value that travels', () => {
  const integers: [WireType, bigint, bigint][] = [8n, 16n, 32n, 64n].flatMap((bits) => [
    [`int${bits}` as WireType, -(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n],
    [`uint${bits}` as WireType, 0n, 2n ** bits - 1n],
  ]);

  it.each(integers)('is the same %s afterwards, from %d to %d', (type, min, max) => {
    const travel = (value: unknown) => fromWireValue(type, parseJson(stringifyJson(toWireValue(type, value))));
    fc.assert(
      fc.property(fc.oneof(fc.bigInt({ min, max }), fc.constantFrom(min, max)), (value) => {
        expect(BigInt(travel(value) as number | bigint)).toBe(value);
      }),
    );
    for (const value of [min - 1n, max + 1n]) {
      expect(() => travel(value)).toThrow(MachineryError);
      expect(() => fromWireValue(type, value)).toThrow(MachineryError);
    }
  });

  it('is the same float afterwards', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(fromWireValue('float64', parseJson(stringifyJson(toWireValue('float64', value))))).toBe(value);
      }),
    );
    fc.assert(
      fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(Math.fround(fromWireValue('float32', toWireValue('float32', value)) as number)).toBe(value);
      }),
    );
  });

  it('is the same bytes afterwards', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (value) => {
        expect(fromWireValue('[]uint8', toWireValue('[]uint8', value))).toStrictEqual(Uint8Array.from(value));
      }),
    );
  });
});

describe('inferWireType', () => {
  it.each([
    [3, 'int64'],
    [-0, 'int64'],
    [3.5, 'float64'],
    [2 ** 60, 'float64'],
    [2n ** 62n, 'int64'],
    [2n ** 63n, 'uint64'],
    ['a', 'string'],
    [false, 'bool'],
    [new Uint8Array(1), '[]byte'],
    [[1, 2], '[]int64'],
    [[1, 2n], '[]int64'],
    [[1, 2n ** 63n], '[]uint64'],
    [[1, 1.5], '[]float64'],
    [['a'], '[]string'],
    [[true, false], '[]bool'],
  ])('takes %s for %s', (value, type) => {
    expect(inferWireType(value)).toBe(type);
  });

  it.each([
    null,
    undefined,
    {},
    new Date(0),
    [[1]],
    [null],
    [1, 'a'],
    [1n, 1.5],
    [-1, 2n ** 63n],
    new Array(1),
    new Map(),
    Symbol('x'),
  ])('asks for a type or json() for value %#', (value) => {
    expect(messageOf(() => inferWireType(value))).toMatch(/name its type, or wrap it with json\(\)/);
  });

  it('asks for the type of an empty array and for another way to send an immense integer', () => {
    expect(messageOf(() => inferWireType([]))).toMatch(/name the type/);
    expect(messageOf(() => inferWireType(2n ** 64n))).toMatch(/send it as a string/);
  });
});
