// JSON that loses nothing: integers beyond 2^53 and literals that a double cannot give back survive being read and
// written again, since a message may only be passing through on its way to a Go worker. The codecs of this folder are
// the callers. Invariant: what `parseJson` returns, `stringifyJson` and `goStringify` write back with the same numbers.

import { parse as parseLossless } from 'lossless-json';
import { MachineryError } from '../errors.ts';

const integerLiteral = /^-?\d+$/;
const numberLiteral = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/**
 * A number as it was written, where the way it is written matters (`1.0`) or a double cannot hold it (`1e400`).
 * Written back as the same bare number by `stringifyJson`.
 */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    if (!numberLiteral.test(text)) throw invalid(`Expected the text of a JSON number, got \`${text.slice(0, 100)}\``);
    this.text = text;
  }

  valueOf(): number {
    return Number(this.text);
  }

  toString(): string {
    return this.text;
  }

  /** For a plain JSON.stringify: the nearest double, or the text where there is none. */
  toJSON(): number | string {
    const number = Number(this.text);
    return Number.isFinite(number) ? number : this.text;
  }
}

/**
 * How deep arrays and objects may nest. A chain of the allowed 1,000 callbacks nests 2,001 deep; beyond this limit the
 * lossless parser's and JSON.stringify's recursion would use up the stack. (Go stops at 10,000.)
 */
const maxNesting = 3_000;

/** No Go type holds an integer this long, and making a bigint of millions of digits would stop the process for long. */
const maxBigIntDigits = 1_000;

/**
 * Finds the numbers that may not survive JSON.parse: 16 digits or more, an exponent, a fraction ending in 0 or so small
 * that JavaScript writes an exponent. A number stands after `[`, `:`, `,` or white space: text in quotes may look the
 * same and only costs time.
 */
const suspiciousNumber = /[[:,\s]-?\d(?:[\d.]{15}|[\d.]*[eE]|\.0{6}|\d*\.\d*0(?!\d))/g;
const wholeNumber = /-?\d[\d.]*(?:[eE][+-]?\d+)?(?=[,\]}\s]|$)/y;

/**
 * The value of a JSON text. Numbers are `number` where that is exact, `bigint` for integers beyond
 * Number.MAX_SAFE_INTEGER, JsonNumber otherwise. Of duplicate keys the last counts. Throws a SyntaxError and nothing else.
 */
export function parseJson(text: string): unknown {
  if (text.length >= 2 * maxNesting && nestsTooDeep(text))
    throw new SyntaxError(`JSON nested more than ${maxNesting} deep`);
  const first = text.charCodeAt(0);
  const isBareNumber = first === 0x2d || (first >= 0x30 && first <= 0x39);
  return losesNumbers(isBareNumber ? ` ${text}` : text) ? parseSlowly(text) : JSON.parse(text);
}

function losesNumbers(text: string): boolean {
  suspiciousNumber.lastIndex = 0;
  for (let found = suspiciousNumber.exec(text); found !== null; found = suspiciousNumber.exec(text)) {
    wholeNumber.lastIndex = found.index + 1;
    const literal = wholeNumber.exec(text)?.[0];
    // What only looks like a number, in a string or in what is not JSON after all, is left to JSON.parse.
    if (literal !== undefined && numberLiteral.test(literal) && typeof readNumber(literal) !== 'number') return true;
  }
  return false;
}

function readNumber(literal: string): number | bigint | JsonNumber {
  const number = Number(literal);
  if (String(number) === literal && (Math.abs(number) <= Number.MAX_SAFE_INTEGER || literal.includes('e')))
    return number;
  if (literal === '-0') return -0;
  if (integerLiteral.test(literal) && literal.length <= maxBigIntDigits) return BigInt(literal);
  return new JsonNumber(literal);
}

function parseSlowly(text: string): unknown {
  try {
    return parseLossless(text, undefined, { parseNumber: readNumber, onDuplicateKey: ({ newValue }) => newValue });
  } catch (error) {
    if (error instanceof RangeError) throw new SyntaxError('JSON nested too deep', { cause: error });
    throw error;
  }
}

function nestsTooDeep(text: string): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: // "
        i = endOfString(text, i);
        if (i < 0) return false;
        break;
      case 0x5b: // [
      case 0x7b: // {
        if (++depth > maxNesting) return true;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
        break;
    }
  }
  return false;
}

function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end >= 0) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return end;
    end = text.indexOf('"', end + 1);
  }
  return -1;
}

/**
 * Like JSON.stringify, but bigint and JsonNumber become bare numbers, -0 stays, a Uint8Array becomes base64 as in Go, and
 * what JSON cannot hold (NaN, functions, cycles …) throws ERR_MACHINERY_INVALID_ARGUMENT instead of becoming null.
 */
export function stringifyJson(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return quoteJson(value);
    case 'number':
      if (value - value === 0 && value !== 0) return String(value);
      break;
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      if (value === null) return 'null';
      if (isPlain(value, 0)) return JSON.stringify(value);
      break;
  }
  return writeWhole(value, quoteJson, false);
}

/** The same as Go's encoding/json prints it: keys in byte order, `<`, `>`, `&` and the line separators escaped. */
export function goStringify(value: unknown): string {
  return writeWhole(value, goQuote, true);
}

const needsEscape = /[^ !#-[\]-\ud7ff\ue000-\uffff]/;

/** A string as JSON. Faster than JSON.stringify for short texts with nothing to escape, which is nearly all of them. */
export function quoteJson(text: string): string {
  return text.length > 100 || needsEscape.test(text) ? JSON.stringify(text) : `"${text}"`;
}

const goEscapes = /[<>&\u2028\u2029]/g;
const loneSurrogate = /[\ud800-\udfff]/u;

/** A string as Go's encoding/json writes it. */
export function goQuote(text: string): string {
  if (!loneSurrogate.test(text)) return goEscape(JSON.stringify(text));
  // Go: what is not UTF-8 is written as the six characters \ufffd.
  const parts = text.split(loneSurrogate).map((part) => goEscape(JSON.stringify(part)).slice(1, -1));
  return `"${parts.join('\\ufffd')}"`;
}

function goEscape(json: string): string {
  return json.replace(goEscapes, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Orders texts by code point, which is the order of their UTF-8 bytes: Go's order of map keys. */
export function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const unitA = a.charCodeAt(i);
    const unitB = b.charCodeAt(i);
    if (unitA !== unitB) return codePointRank(unitA) - codePointRank(unitB);
  }
  return a.length - b.length;
}

// Surrogates stand for code points above U+FFFF, but their code units are below U+E000.
function codePointRank(unit: number): number {
  return unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit;
}

/** Whether JSON.stringify writes `value` rightly. */
function isPlain(value: object, depth: number): boolean {
  if (depth > 50) return false;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (!isPlainMember(value[i], depth)) return false;
    return true;
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  for (const key in value) {
    const member = (value as Record<string, unknown>)[key];
    if (member !== undefined && !isPlainMember(member, depth)) return false;
  }
  return true;
}

function isPlainMember(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true;
    case 'number':
      return value - value === 0 && (value !== 0 || 1 / value > 0);
    case 'object':
      return value === null || isPlain(value, depth + 1);
    default:
      return false;
  }
}

/** Where the writer is: the containers around the current value, innermost first. */
interface Place {
  readonly key: string | number;
  readonly container: object;
  readonly outer: Place | undefined;
  readonly depth: number;
}

type Quote = (text: string) => string;

function writeWhole(value: unknown, quote: Quote, sorted: boolean): string {
  try {
    return write(value, undefined, quote, sorted);
  } catch (error) {
    if (error instanceof RangeError) throw invalid('Cannot write as JSON what is nested too deep', error);
    throw error;
  }
}

function write(value: unknown, place: Place | undefined, quote: Quote, sorted: boolean): string {
  switch (typeof value) {
    case 'string':
      return quote(value);
    case 'number':
      if (!Number.isFinite(value)) throw unwritable(String(value), place);
      return Object.is(value, -0) ? '-0' : String(value);
    case 'boolean':
    case 'bigint':
      return String(value);
    case 'object':
      return value === null ? 'null' : writeObject(value, place, quote, sorted);
    default:
      throw unwritable(value === undefined ? 'undefined' : `a ${typeof value}`, place);
  }
}

function writeObject(value: object, place: Place | undefined, quote: Quote, sorted: boolean): string {
  if (value instanceof JsonNumber) return value.text;
  if (value instanceof Uint8Array) {
    return `"${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')}"`;
  }
  if ('toJSON' in value && typeof value.toJSON === 'function') {
    const replaced: unknown = value.toJSON(String(place?.key ?? ''));
    if (replaced !== value) return write(replaced, place, quote, sorted);
  }
  const depth = (place?.depth ?? 0) + 1;
  if (depth > maxNesting) throw unwritable(`what is nested more than ${maxNesting} deep`, undefined);
  for (let outer = place; outer !== undefined; outer = outer.outer) {
    if (outer.container === value) throw unwritable('a cyclic value', place);
  }
  // Loops, since a callback for each level would halve the depth that the stack has room for.
  let text = '';
  if (Array.isArray(value)) {
    for (let key = 0; key < value.length; key++) {
      text += `${key > 0 ? ',' : ''}${write(value[key], { key, container: value, outer: place, depth }, quote, sorted)}`;
    }
    return `[${text}]`;
  }
  const keys = Object.keys(value);
  if (sorted) keys.sort(compareCodePoints);
  for (const key of keys) {
    const member = (value as Record<string, unknown>)[key];
    if (member === undefined) continue;
    const json = write(member, { key, container: value, outer: place, depth }, quote, sorted);
    text += `${text === '' ? '' : ','}${quote(key)}:${json}`;
  }
  return `{${text}}`;
}

function unwritable(found: string, place: Place | undefined): MachineryError {
  let path = '';
  for (let at = place; at !== undefined && path.length < 200; at = at.outer) {
    path = (typeof at.key === 'number' ? `[${at.key}]` : `.${at.key}`) + path;
  }
  return invalid(`Cannot write ${found} as JSON${path === '' ? '' : ` (at \`${path.replace(/^\./, '')}\`)`}`);
}

function invalid(message: string, cause?: unknown): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', message, cause === undefined ? undefined : { cause });
}
