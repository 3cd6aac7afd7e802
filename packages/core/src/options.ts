// Checks of options, so that a wrong one is an error at once that names it, what was expected and what came. Adapters
// use the same checks. Nothing is repaired or rounded.

import { MachineryError } from './errors.ts';

/** Answers what was expected when `value` is wrong, undefined when it is right. */
export type Check = (value: unknown) => string | undefined;

export const boolean: Check = (value) => (typeof value === 'boolean' ? undefined : 'a boolean');
export const string: Check = (value) =>
  typeof value === 'string' && value !== '' ? undefined : 'a string that is not empty';
export const fn: Check = (value) => (typeof value === 'function' ? undefined : 'a function');
export const object: Check = (value) =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? undefined : 'an object';

export const abortSignal: Check = (value) => (value instanceof AbortSignal ? undefined : 'an AbortSignal');

export function integer({ min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = {}): Check {
  return (value) =>
    Number.isSafeInteger(value) && inRange(value as number, min, max) ? undefined : `an integer${range(min, max)}`;
}

/** Milliseconds that a timer can wait: Node fires at once when it is given more. */
export function timerMs({ min }: { min: number }): Check {
  return integer({ min, max: 2 ** 31 - 1 });
}

export function number({ min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = {}): Check {
  return (value) =>
    typeof value === 'number' && Number.isFinite(value) && inRange(value, min, max)
      ? undefined
      : `a number${range(min, max)}`;
}

export function oneOf(...values: readonly unknown[]): Check {
  return (value) => (values.includes(value) ? undefined : `one of ${values.map((v) => JSON.stringify(v)).join(', ')}`);
}

export function optional(check: Check): Check {
  return (value) => (value === undefined ? undefined : check(value));
}

/**
 * Checks all options of `owner` (a class or function, for the message).
 * @throws MachineryError ERR_MACHINERY_INVALID_OPTION for the first that is wrong or unknown.
 */
export function checkOptions<O extends object>(
  owner: string,
  options: O,
  checks: Record<keyof O & string, Check>,
): void {
  if (object(options) !== undefined)
    throw invalidOption(`${owner}: expected its options to be an object, got ${show(options)}`);
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(checks, name))
      throw invalidOption(`${owner}: unknown option \`${name}\`, known are ${Object.keys(checks).join(', ')}`);
  }
  for (const [name, check] of Object.entries(checks) as [keyof O & string, Check][]) {
    const expected = check(options[name]);
    if (expected !== undefined)
      throw invalidOption(`${owner}: expected \`${name}\` to be ${expected}, got ${show(options[name])}`);
  }
}

/** A value as error messages show it: its text, shortened, and its type. Never throws. */
export function show(value: unknown): string {
  let text: string;
  try {
    text =
      typeof value === 'string'
        ? value
        : typeof value === 'object' && value !== null && !(value instanceof Date)
          ? (JSON.stringify(value) ?? String(value))
          : String(value);
  } catch {
    text = Object.prototype.toString.call(value);
  }
  if (text.length > 100) text = `${text.slice(0, 100)}…`;
  return `\`${text}\` (${value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value})`;
}

export function invalidOption(message: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_OPTION', message);
}

function inRange(value: number, min: number, max: number): boolean {
  return value >= min && value <= max;
}

function range(min: number, max: number): string {
  const low = min > Number.MIN_SAFE_INTEGER ? ` >= ${min}` : '';
  const high = max < Number.MAX_SAFE_INTEGER ? `${low === '' ? '' : ' and'} <= ${max}` : '';
  return low + high;
}
