// A value as Go's %v prints it, for error texts that equal Go's. Used by `argument-types.ts`.

import { compareCodePoints, JsonNumber } from './json.ts';

// Go prints values whole. A stored error is not the place for a megabyte, and values made in JavaScript may be cyclic.
const maxLength = 500;
const maxDepth = 8;

/** `value`, as JSON holds it, in the form of Go's `%v`: `<nil>`, `[1 2]`, `map[a:1 b:x]`. */
export function printGoValue(value: unknown): string {
  const text = print(value, 0);
  return text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
}

function print(value: unknown, depth: number): string {
  if (value === null || value === undefined) return '<nil>';
  if (Object.is(value, -0)) return '-0';
  if (typeof value === 'function' || typeof value === 'symbol') return `a ${typeof value}`;
  if (typeof value !== 'object' || value instanceof JsonNumber) return String(value);
  if (depth === maxDepth) return '…';
  if (Array.isArray(value) || value instanceof Uint8Array) {
    // No more elements than could be shown.
    return `[${Array.from(value.slice(0, maxLength), (element) => print(element, depth + 1)).join(' ')}]`;
  }
  if (value instanceof Date || value instanceof Error) return String(value);
  const keys = Object.keys(value).sort(compareCodePoints).slice(0, maxLength);
  return `map[${keys.map((key) => `${key}:${print((value as Record<string, unknown>)[key], depth + 1)}`).join(' ')}]`;
}
