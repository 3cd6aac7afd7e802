// Go's types of arguments and results: JavaScript values to what JSON holds and back. Neighbours: `task.ts` and the worker
// call these for each value; `json.ts` gives and takes the numbers. Invariant: no number is rounded or wrapped silently, and
// where Go says why it refuses a value, the text is the same.

import { MachineryError } from '../errors.ts';
import { base64ErrorOffset } from './base64.ts';
import { shortestFloat32 } from './float32.ts';
import { printGoValue } from './go-print.ts';
import { JsonNumber } from './json.ts';

/** @inline */
type IntegerType = 'int' | 'int8' | 'int16' | 'int32' | 'int64' | 'uint' | 'uint8' | 'uint16' | 'uint32' | 'uint64';
/** @inline */
type FloatType = 'float32' | 'float64';
/** @inline */
type ScalarType = 'bool' | 'string' | IntegerType | FloatType;

/** The types that Go Machinery knows, as they stand in `Arg.type`. */
export type WireType = ScalarType | `[]${ScalarType}` | '[]byte';

interface Range {
  readonly min: bigint;
  readonly max: bigint;
}

const ranges: Readonly<Record<IntegerType, Range>> = {
  int: { min: -(2n ** 63n), max: 2n ** 63n - 1n },
  int8: { min: -128n, max: 127n },
  int16: { min: -32_768n, max: 32_767n },
  int32: { min: -(2n ** 31n), max: 2n ** 31n - 1n },
  int64: { min: -(2n ** 63n), max: 2n ** 63n - 1n },
  uint: { min: 0n, max: 2n ** 64n - 1n },
  uint8: { min: 0n, max: 255n },
  uint16: { min: 0n, max: 65_535n },
  uint32: { min: 0n, max: 2n ** 32n - 1n },
  uint64: { min: 0n, max: 2n ** 64n - 1n },
};

const wireTypes: ReadonlySet<string> = new Set(
  ['bool', 'string', 'float32', 'float64', ...Object.keys(ranges)]
    .flatMap((type) => [type, `[]${type}`])
    .concat('[]byte'),
);

/** Whether Go Machinery knows a type of this name. */
export function isWireType(text: string): text is WireType {
  return wireTypes.has(text);
}

/**
 * What JSON holds for a JavaScript value of a Go type: integers as number or, beyond 2^53, bigint; bytes as base64; `[]`
 * for an absent slice. Throws ERR_MACHINERY_INVALID_ARGUMENT for a value that is not of the type.
 */
export function toWireValue(type: WireType, value: unknown): unknown {
  switch (type) {
    case 'string':
      if (typeof value === 'string') return value;
      break;
    case 'bool':
      if (typeof value === 'boolean') return value;
      break;
    case 'int':
    case 'int64':
      if (Number.isSafeInteger(value)) return (value as number) + 0;
      return toInteger(type, value);
    case 'int8':
    case 'int16':
    case 'int32':
    case 'uint':
    case 'uint8':
    case 'uint16':
    case 'uint32':
    case 'uint64':
      return toInteger(type, value);
    case 'float64':
      if (typeof value === 'number' && value - value === 0) return value;
      return toFiniteNumber(type, value);
    case 'float32':
      return toFloat32(toFiniteNumber(type, value), value);
    case '[]byte':
    case '[]uint8':
      return toBase64(type, value);
    default:
      if (isWireType(type)) return toSlice(type, value);
      throw notSupported(type);
  }
  throw notOfType(value, type);
}

/**
 * The JavaScript value of what JSON holds for a Go type: integers as number where safe, bigint otherwise; floats as
 * number; bytes as Uint8Array; slices as arrays. Throws ERR_MACHINERY_INVALID_ARGUMENT with Go's text.
 */
export function fromWireValue(type: WireType | string, value: unknown): unknown {
  switch (type) {
    case 'string':
      if (typeof value === 'string') return value;
      break;
    case 'bool':
      if (typeof value === 'boolean') return value;
      break;
    case 'int':
    case 'int64':
      if (Number.isSafeInteger(value)) return (value as number) + 0;
      return fromInteger(type, value);
    case 'int8':
    case 'int16':
    case 'int32':
    case 'uint':
    case 'uint8':
    case 'uint16':
    case 'uint32':
    case 'uint64':
      return fromInteger(type, value);
    case 'float64':
      if (typeof value === 'number' && value - value === 0) return value;
      return fromFloat(type, value);
    case 'float32':
      return toFloat32(fromFloat(type, value), value);
    case '[]byte':
    case '[]uint8':
      return fromBytes(type, value);
    default:
      if (isWireType(type)) return fromSlice(type, value);
      throw notSupported(type);
  }
  throw notOfType(value, type);
}

function toInteger(type: IntegerType, value: unknown): number | bigint {
  let integer: bigint | undefined;
  if (typeof value === 'bigint') integer = value;
  else if (typeof value === 'number') integer = Number.isInteger(value) ? BigInt(value) : undefined;
  else if (value instanceof JsonNumber) integer = /^-?\d{1,40}$/.test(value.text) ? BigInt(value.text) : undefined;
  else throw notOfType(value, type);
  const { min, max } = ranges[type];
  if (integer === undefined || integer < min || integer > max) throw outOfRange(value, type);
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw maybeRounded(type, value);
  return numberIfSafe(integer);
}

function fromInteger(type: IntegerType, value: unknown): number | bigint {
  if (!isNumeric(value)) throw notOfType(value, type);
  const { min, max } = ranges[type];
  // Most values end here; what is left is long or wrong. (Go refuses -0 for an unsigned type.)
  if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max && !Object.is(value, -0)) {
    return value as number;
  }
  const text = printGoValue(value);
  const signed = min < 0n;
  const parser = signed ? 'ParseInt' : 'ParseUint';
  if (!(signed ? /^-?\d+$/ : /^\d+$/).test(text)) throw invalid(`strconv.${parser}: parsing "${text}": invalid syntax`);
  const wide = ranges[signed ? 'int64' : 'uint64'];
  const integer = text.length > 40 ? undefined : BigInt(text);
  if (integer === undefined || integer < wide.min || integer > wide.max) {
    throw invalid(`strconv.${parser}: parsing "${text}": value out of range`);
  }
  // Go wraps around without a word here.
  if (integer < min || integer > max) throw outOfRange(value, type);
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw maybeRounded(type, value);
  return numberIfSafe(integer);
}

function numberIfSafe(integer: bigint): number | bigint {
  const number = Number(integer);
  return Number.isSafeInteger(number) ? number : integer;
}

function isNumeric(value: unknown): value is number | bigint | JsonNumber {
  return typeof value === 'number' || typeof value === 'bigint' || value instanceof JsonNumber;
}

function toFiniteNumber(type: FloatType, value: unknown): number {
  if (!isNumeric(value)) throw notOfType(value, type);
  const number = Number(value);
  if (!Number.isFinite(number)) throw outOfRange(value, type);
  return number;
}

function fromFloat(type: FloatType, value: unknown): number {
  if (!isNumeric(value)) throw notOfType(value, type);
  const number = Number(value);
  if (Number.isFinite(number)) return number;
  if (typeof value === 'number') throw outOfRange(value, type);
  throw invalid(`strconv.ParseFloat: parsing "${printGoValue(value)}": value out of range`);
}

function toFloat32(number: number, value: unknown): number {
  const float = Math.fround(number);
  // Go makes +Inf of it, which its JSON cannot hold.
  if (!Number.isFinite(float)) throw outOfRange(value, 'float32');
  return shortestFloat32(float);
}

function toBase64(type: '[]byte' | '[]uint8', value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'string') return checkBase64(value);
  if (value instanceof Uint8Array) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
  }
  if (!Array.isArray(value)) throw notOfType(value, type);
  return Buffer.from(Array.from(value, (byte) => Number(toInteger('uint8', byte)))).toString('base64');
}

function fromBytes(type: '[]byte' | '[]uint8', value: unknown): Uint8Array {
  if (value === null || value === undefined) return new Uint8Array(0);
  // A copy: the memory behind a small Buffer is shared with others.
  if (typeof value === 'string') return new Uint8Array(Buffer.from(checkBase64(value), 'base64'));
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (!Array.isArray(value)) throw notOfType(value, type);
  return Uint8Array.from(value, (byte) => Number(fromInteger('uint8', byte)));
}

function checkBase64(text: string): string {
  const offset = base64ErrorOffset(text);
  if (offset !== undefined) throw invalid(`illegal base64 data at input byte ${offset}`);
  return text;
}

function toSlice(type: WireType, value: unknown): unknown[] {
  if (value === null || value === undefined) return [];
  const isTypedArray = ArrayBuffer.isView(value) && !(value instanceof DataView);
  if (!Array.isArray(value) && !isTypedArray) throw notOfType(value, type);
  const elements = value as ArrayLike<unknown>;
  const elementType = type.slice(2) as ScalarType;
  const wire = new Array<unknown>(elements.length);
  for (let i = 0; i < wire.length; i++) wire[i] = toWireValue(elementType, elements[i]);
  return wire;
}

function fromSlice(type: WireType, value: unknown): unknown[] {
  if (value === null || value === undefined) return [];
  const elementType = type.slice(2) as ScalarType;
  if (Array.isArray(value)) {
    const values = new Array<unknown>(value.length);
    for (let i = 0; i < values.length; i++) values[i] = fromWireValue(elementType, value[i]);
    return values;
  }
  // Go: a text or number is taken for a slice of its bytes, and the first of them is not of the element's type.
  const text = typeof value === 'string' || isNumeric(value) ? printGoValue(value) : '';
  if (text === '' || elementType.startsWith('uint')) throw notOfType(value, type);
  throw notOfType(Buffer.from(text.slice(0, 2))[0], elementType);
}

/** The type of a plain value whose type nobody named: integers are int64, other numbers float64. */
export function inferWireType(value: unknown): WireType {
  if (value instanceof Uint8Array) return '[]byte';
  if (Array.isArray(value)) return inferSliceType(value);
  return inferScalarType(value);
}

function inferScalarType(value: unknown): ScalarType {
  switch (typeof value) {
    case 'string':
      return 'string';
    case 'boolean':
      return 'bool';
    case 'number':
      return Number.isSafeInteger(value) ? 'int64' : 'float64';
    case 'bigint':
      if (value >= ranges.int64.min && value <= ranges.int64.max) return 'int64';
      if (value >= 0n && value <= ranges.uint64.max) return 'uint64';
      throw invalid(`${printGoValue(value)} fits neither int64 nor uint64: send it as a string`);
    default:
      throw noType(value);
  }
}

function inferSliceType(values: readonly unknown[]): WireType {
  if (values.length === 0)
    throw invalid('An empty array does not tell the type of its elements: name the type, such as []string');
  const types = new Set(Array.from(values, inferScalarType));
  const [type] = types;
  if (type !== undefined && types.size === 1) return `[]${type}`;
  const hasBigInt = values.some((value) => typeof value === 'bigint');
  if (!hasBigInt && types.size === 2 && types.has('int64') && types.has('float64')) return '[]float64';
  const isUnsigned = types.size === 2 && types.has('int64') && types.has('uint64');
  if (isUnsigned && values.every((value) => (value as number | bigint) >= 0)) return '[]uint64';
  throw noType(values);
}

function noType(value: unknown): MachineryError {
  return invalid(
    `${printGoValue(value)} has no Go type that could be told from it: name its type, or wrap it with json()`,
  );
}

function notOfType(value: unknown, type: string): MachineryError {
  return invalid(`${printGoValue(value)} is not ${type}`);
}

function notSupported(type: string): MachineryError {
  return invalid(`${type} is not one of supported types`);
}

function maybeRounded(type: IntegerType, value: number): MachineryError {
  return invalid(
    `${value} may have been rounded before it came here, as numbers beyond 2^53 are: give a bigint for ${type}`,
  );
}

function outOfRange(value: unknown, type: IntegerType | FloatType): MachineryError {
  const expected =
    type === 'float64' || type === 'float32'
      ? `a finite number of at most ${type === 'float32' ? '3.4028235e+38' : '1.7976931348623157e+308'}`
      : `an integer from ${ranges[type].min} to ${ranges[type].max}`;
  return invalid(`${printGoValue(value)} is not ${type} (${expected})`);
}

function invalid(message: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', message);
}
