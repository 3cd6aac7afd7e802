// The types that a task declares for its arguments and results. A declared type is three things at once: the Go type on
// the wire, the TypeScript types that go in and come out, and the check between them. `task.ts` puts them together.

import type { StandardSchemaV1 } from '@standard-schema/spec';
import { MachineryError } from './errors.ts';
import { show } from './options.ts';
import { fromWireValue, toWireValue, type WireType } from './wire/argument-types.ts';
import { parseJson } from './wire/json.ts';

/** A declared type: `In` is what a caller or a handler may give, `Out` is what the other side gets. */
export interface Type<Wire extends WireType = WireType, In = unknown, Out = In> {
  readonly wire: Wire;
  /** To the JSON value. Throws ERR_MACHINERY_INVALID_ARGUMENT. */
  encode(value: In): unknown;
  /** From the JSON value of an argument whose wire type is this one. Throws ERR_MACHINERY_INVALID_ARGUMENT. */
  decode(value: unknown): Out;
}

// biome-ignore lint/suspicious/noExplicitAny: stands for every declared type, whatever goes in and comes out
export type AnyType = Type<WireType, any, any>;

/** As the last of a task's arguments: any number of them. */
export interface Rest<T extends AnyType = AnyType> {
  readonly rest: T;
}

/** Any number of arguments of one type, like Go's `...int64`. */
export function rest<T extends AnyType>(type: T): Rest<T> {
  return { rest: type };
}

function plain<W extends WireType, T>(wire: W): Type<W, T> {
  return { wire, encode: (value) => toWireValue(wire, value), decode: (value) => fromWireValue(wire, value) as T };
}

/** Go's 64-bit integers as numbers: beyond 2^53 they are an error, never a rounding. */
function safeInteger<W extends WireType>(wire: W): Type<W, number> {
  return {
    wire,
    encode: (value) => toWireValue(wire, value),
    decode(value) {
      const decoded = fromWireValue(wire, value);
      if (typeof decoded === 'bigint') {
        throw new MachineryError(
          'ERR_MACHINERY_INVALID_ARGUMENT',
          `${decoded} is beyond what a JavaScript number holds exactly: declare bigInt64 or bigUint64 in place of ${wire}`,
        );
      }
      return decoded as number;
    },
  };
}

function bigInteger<W extends WireType>(wire: W): Type<W, bigint | number, bigint> {
  return {
    wire,
    encode: (value) => toWireValue(wire, value),
    decode: (value) => BigInt(fromWireValue(wire, value) as number | bigint),
  };
}

export const bool: Type<'bool', boolean> = plain('bool');
export const string: Type<'string', string> = plain('string');
/** `[]byte`: base64 on the wire. */
export const bytes: Type<'[]byte', Uint8Array> = plain('[]byte');
export const int8: Type<'int8', number> = plain('int8');
export const int16: Type<'int16', number> = plain('int16');
export const int32: Type<'int32', number> = plain('int32');
export const uint8: Type<'uint8', number> = plain('uint8');
export const uint16: Type<'uint16', number> = plain('uint16');
export const uint32: Type<'uint32', number> = plain('uint32');
/** Rounded to 32 bits, as the wire type is. */
export const float32: Type<'float32', number> = plain('float32');
export const float64: Type<'float64', number> = plain('float64');
/** Go's `int`, which has 64 bits. A value beyond 2^53 is an error. */
export const int: Type<'int', number> = safeInteger('int');
/** A value beyond 2^53 is an error; `bigInt64` has the full range. */
export const int64: Type<'int64', number> = safeInteger('int64');
/** Go's `uint`, which has 64 bits. A value beyond 2^53 is an error. */
export const uint: Type<'uint', number> = safeInteger('uint');
/** A value beyond 2^53 is an error; `bigUint64` has the full range. */
export const uint64: Type<'uint64', number> = safeInteger('uint64');
/** Wire type `int64`, as bigint. */
export const bigInt64: Type<'int64', bigint | number, bigint> = bigInteger('int64');
/** Wire type `uint64`, as bigint. */
export const bigUint64: Type<'uint64', bigint | number, bigint> = bigInteger('uint64');

/** @inline */
type ElementWire = Exclude<WireType, `[]${string}`>;

/** A slice of any type but a slice: `slice(int64)` is Go's `[]int64`. `slice(uint8)` is `[]uint8`, which travels as base64. */
export function slice<W extends ElementWire, In, Out>(element: Type<W, In, Out>): Type<`[]${W}`, readonly In[], Out[]> {
  const wire = `[]${element.wire}` as const;
  return {
    wire,
    encode(values) {
      if (!Array.isArray(values))
        throw new MachineryError(
          'ERR_MACHINERY_INVALID_ARGUMENT',
          `Expected an array for ${wire}, got ${show(values)}`,
        );
      return toWireValue(
        wire,
        values.map((value) => element.encode(value)),
      );
    },
    decode: (value) => Array.from(fromWireValue(wire, value) as ArrayLike<unknown>, (item) => element.decode(item)),
  };
}

/**
 * Any JSON value, carried as a `string`, so that Go workers can pass it on or parse it; integers beyond 2^53 come out as
 * bigint. With a Standard Schema (zod, valibot, arktype …), values are checked when they are sent, and checked and
 * transformed when they are received; the schema must be synchronous.
 */
export function json<S extends StandardSchemaV1>(
  schema: S,
): Type<'string', StandardSchemaV1.InferInput<S>, StandardSchemaV1.InferOutput<S>>;
export function json<T = unknown>(): Type<'string', T>;
export function json(schema?: StandardSchemaV1): Type<'string', unknown> {
  return {
    wire: 'string',
    encode(value) {
      if (schema !== undefined) validate(schema, value);
      const text = stringify(value);
      if (text === undefined)
        throw new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', `${show(value)} has no JSON form`);
      return text;
    },
    decode(value) {
      const text = fromWireValue('string', value) as string;
      let parsed: unknown;
      try {
        parsed = /\d{16}/.test(text) ? parseJson(text) : JSON.parse(text);
      } catch (cause) {
        throw new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', `Expected JSON, got ${show(text)}`, { cause });
      }
      return schema === undefined ? parsed : validate(schema, parsed);
    },
  };
}

function stringify(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch (cause) {
    throw new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', `${show(value)} has no JSON form`, { cause });
  }
}

function validate(schema: StandardSchemaV1, value: unknown): unknown {
  const result = schema['~standard'].validate(value);
  if (result instanceof Promise)
    throw new MachineryError('ERR_MACHINERY_INVALID_OPTION', 'json(schema) needs a schema that checks synchronously');
  if (result.issues === undefined) return result.value;
  const issues = result.issues.map(({ message, path }) => {
    const at = path?.map((part) => String(typeof part === 'object' ? part.key : part)).join('.');
    return at ? `${at}: ${message}` : message;
  });
  throw new MachineryError(
    'ERR_MACHINERY_INVALID_ARGUMENT',
    `${show(value)} does not match its schema: ${issues.join('; ')}`,
  );
}
