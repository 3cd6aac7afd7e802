// What each type of value takes and gives.

import { expectTypeOf } from 'vitest';
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
  type Type,
  uint,
  uint8,
  uint16,
  uint32,
  uint64,
} from '../../src/index.ts';
import type { WireType } from '../../src/wire/argument-types.ts';
import { server } from './tasks.ts';

type In<T> = T extends Type<WireType, infer I, infer _> ? I : never;
type Out<T> = T extends Type<WireType, infer _, infer O> ? O : never;

const numbers = [int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64] as const;
expectTypeOf<In<(typeof numbers)[number]>>().toEqualTypeOf<number>();
expectTypeOf<Out<(typeof numbers)[number]>>().toEqualTypeOf<number>();
expectTypeOf<Out<typeof bool>>().toBeBoolean();
expectTypeOf<Out<typeof string>>().toBeString();
expectTypeOf<Out<typeof bytes>>().toEqualTypeOf<Uint8Array>();
expectTypeOf(int64.wire).toEqualTypeOf<'int64'>();
expectTypeOf(slice(int64).wire).toEqualTypeOf<'[]int64'>();

// bigint variants take both and give bigint.
const big = defineTask('big', { args: [bigInt64, bigUint64], returns: bigInt64 });
big(1n, 2);
expectTypeOf(await (await server.send(big(1, 2n))).get()).toEqualTypeOf<bigint>();
server.handle(big, (_task, signed, unsigned) => {
  expectTypeOf(signed).toEqualTypeOf<bigint>();
  return signed + unsigned;
});
server.handle(big, () => 1);
// @ts-expect-error a text is none
big('1', 2n);

// Slices take what is read only and give what may be changed.
const sum = defineTask('sum', { args: [slice(float64)], returns: slice(bool) });
sum([1, 2]);
sum([1, 2] as const);
sum([]);
expectTypeOf(await (await server.send(sum([]))).get()).toEqualTypeOf<boolean[]>();
server.handle(sum, (_task, numbers) => {
  expectTypeOf(numbers).toEqualTypeOf<number[]>();
  return Object.freeze([true]);
});
// @ts-expect-error a number is no slice
sum(1);
// @ts-expect-error a slice of texts is no slice of numbers
sum(['1']);
// @ts-expect-error slices of slices are not on the wire
slice(slice(int64));
// @ts-expect-error nor of bytes
slice(bytes);
// @ts-expect-error a rest is no type
slice(rest(int64));
const bigs = slice(bigInt64);
expectTypeOf<In<typeof bigs>>().toEqualTypeOf<readonly (bigint | number)[]>();
expectTypeOf<Out<typeof bigs>>().toEqualTypeOf<bigint[]>();
const many = defineTask('many', { args: rest(slice(string)) });
many(['a'], ['b', 'c']);
// @ts-expect-error each one is a slice
many('a');

// JSON without a schema is what one says it is.
const untyped = defineTask('untyped', { args: [json()], returns: json() });
untyped({ anything: [1] });
expectTypeOf(await (await server.send(untyped(1))).get()).toBeUnknown();
const said = defineTask('said', { args: [json<{ id: number }>()], returns: json<string[]>() });
said({ id: 1 });
expectTypeOf(await (await server.send(said({ id: 1 }))).get()).toEqualTypeOf<string[]>();
// @ts-expect-error not what one said
said({ id: '1' });

// A schema's input goes in, its output comes out.
interface TextToDate {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: 'test';
    readonly validate: (value: unknown) => { value: Date } | { issues: readonly { message: string }[] };
    readonly types?: { readonly input: string; readonly output: Date };
  };
}
declare const textToDate: TextToDate;
const dated = defineTask('dated', { args: [json(textToDate)], returns: json(textToDate) });
dated('2026-11-21');
// @ts-expect-error the output is not what goes in
dated(new Date());
expectTypeOf(await (await server.send(dated('2026-11-21'))).get()).toEqualTypeOf<Date>();
server.handle(dated, (_task, date) => {
  expectTypeOf(date).toEqualTypeOf<Date>();
  return date.toISOString();
});
// @ts-expect-error a handler returns the input
server.handle(dated, (_task, date) => date);
// @ts-expect-error not a schema
json({});
// @ts-expect-error not a schema's source
json('string');
const dates = slice(json(textToDate));
expectTypeOf<Out<typeof dates>>().toEqualTypeOf<Date[]>();

// Every type is a type, and one may write one's own.
const celsius: Type<'float64', { degrees: number }> = {
  wire: 'float64',
  encode: ({ degrees }) => degrees,
  decode: (value) => ({ degrees: value as number }),
};
const all: AnyType[] = [bool, string, bytes, big.returns, dates, celsius];
void all;
const warm = defineTask('warm', { args: [celsius] });
warm({ degrees: 20 });
// @ts-expect-error Go has no such type
const wrong: Type<'decimal', number> = int64;
void wrong;
