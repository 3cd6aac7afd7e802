// Reading Go's JSON objects field by field: what both codecs of this folder need to check what came and to say what is
// wrong with it. Invariant: whatever the text holds, reading it gives a value of the right type or throws
// ERR_MACHINERY_INVALID_MESSAGE naming the field.

import { MachineryError } from '../errors.ts';
import { JsonNumber, parseJson, stringifyJson } from './json.ts';
import { toUtcText } from './time.ts';

/** A JSON object as parsed. Read it by `for … in` and by Go's field names only. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The object in `text`. `what` names it in errors: `a task message`. */
export function parseObject(text: string, what: string): JsonObject {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (cause) {
    throw invalidMessage(`Expected ${what} as a JSON object, got what is not JSON: \`${text.slice(0, 100)}\``, cause);
  }
  if (isObject(value)) return value;
  throw invalidMessage(`Expected ${what} as a JSON object, got \`${text.slice(0, 100)}\``);
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof JsonNumber);
}

/** Go's field names: as they are written, and by their folded form. */
export interface FieldNames {
  readonly exact: ReadonlySet<string>;
  readonly folded: ReadonlyMap<string, string>;
}

export function fieldNames(...names: string[]): FieldNames {
  return { exact: new Set(names), folded: new Map(names.map((name) => [fold(name), name])) };
}

// Go: names match by Unicode simple folding, where the long s is an s (and the Kelvin sign a k, as in toLowerCase).
function fold(name: string): string {
  return name.replaceAll('ſ', 's').toLowerCase();
}

/** Whether `key` is a field's name, but in another case. */
export function isOtherCase({ exact, folded }: FieldNames, key: string): boolean {
  return !exact.has(key) && folded.has(fold(key));
}

/** The object under exact names: itself, as nearly always, or a copy where names are in another case. */
export function readExactNames(names: FieldNames, object: JsonObject): JsonObject {
  for (const key in object) if (isOtherCase(names, key)) return withExactNames(names, object);
  return object;
}

/** The fields of `object` under their exact names. Of several keys for one field the last in the text counts, as in Go. */
export function withExactNames({ folded }: FieldNames, object: JsonObject): JsonObject {
  const exact: Record<string, unknown> = {};
  for (const key in object) {
    const name = folded.get(fold(key));
    if (name === undefined) continue;
    const value = object[key];
    // Go: null leaves a string, number or boolean as it is.
    if (value === null && exact[name] !== undefined && typeof exact[name] !== 'object') continue;
    exact[name] = value;
  }
  return exact;
}

/** A text; null is the empty one. */
export function readString(field: string, value: unknown): string {
  if (typeof value === 'string') return value;
  if (value === null) return '';
  throw invalidField(field, 'a string', value);
}

/** A boolean; null is false. */
export function readBoolean(field: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  if (value === null) return false;
  throw invalidField(field, 'a boolean', value);
}

/** An integer; null is 0. */
export function readInteger(field: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value + 0;
  if (value === null) return 0;
  throw invalidField(field, `an integer from ${min} to ${max}`, value);
}

/** An RFC 3339 time in UTC. */
export function readTime(field: string, value: unknown): string {
  const text = typeof value === 'string' ? toUtcText(value) : undefined;
  if (text !== undefined) return text;
  throw invalidField(field, 'an RFC 3339 time', value);
}

export function readArray(field: string, value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw invalidField(field, 'an array', value);
}

export function readObject(field: string, value: unknown): JsonObject {
  if (isObject(value)) return value;
  throw invalidField(field, 'an object', value);
}

export function invalidField(field: string, expected: string, value: unknown): MachineryError {
  const type =
    value === null ? 'null' : Array.isArray(value) ? 'array' : value instanceof JsonNumber ? 'number' : typeof value;
  return invalidMessage(`Expected ${field} to be ${expected}, got \`${stringifyJson(value).slice(0, 100)}\` (${type})`);
}

export function invalidMessage(message: string, cause?: unknown): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_MESSAGE', message, cause === undefined ? undefined : { cause });
}

/** The integer of a field that is being written. */
export function writeInteger(field: string, value: number, min: number, max: number): string {
  if (Number.isInteger(value) && value >= min && value <= max) return String(value);
  throw new MachineryError(
    'ERR_MACHINERY_INVALID_ARGUMENT',
    `Expected ${field} to be an integer from ${min} to ${max}, got \`${String(value)}\` (${typeof value})`,
  );
}
