// Checks a signature that a user made before it is sent: every field, every argument, every callback. What passes can be
// encoded, and read by Go. Errors say where in the signature: `onSuccess[0].args[1]`.

import { MachineryError, type MachineryErrorCode } from './errors.ts';
import { boolean, type Check, integer, object, optional, show, string } from './options.ts';
import { type Arg, maxCallbackDepth, type Signature } from './signature.ts';
import { delayOf, ignoresResult, isBuilt } from './task.ts';
import { isWireType, toWireValue } from './wire/argument-types.ts';
import { timeCheck } from './wire/time.ts';

const anyString: Check = (value) => (typeof value === 'string' ? undefined : 'a string');
const array: Check = (value) => (Array.isArray(value) ? undefined : 'an array');
/** Go: int. */
const count = integer({ min: 0 });

const fields: Record<Exclude<keyof Signature, 'name'>, Check> = {
  uuid: optional(anyString),
  routingKey: optional(anyString),
  eta: optional(timeCheck),
  groupUuid: optional(anyString),
  groupTaskCount: optional(count),
  args: optional(array),
  headers: optional(object),
  priority: optional(integer({ min: 0, max: 255 })),
  immutable: optional(boolean),
  retryCount: optional(count),
  retryTimeout: optional(count),
  onSuccess: optional(array),
  onError: optional(array),
  chordCallback: optional(object),
  brokerMessageGroupId: optional(anyString),
  sqsReceiptHandle: optional(anyString),
  stopTaskDeletionOnError: optional(boolean),
  ignoreWhenTaskNotRegistered: optional(boolean),
};
const fieldChecks = Object.entries(fields) as [keyof Signature, Check][];

/**
 * The signature with its arguments in wire form.
 * @throws MachineryError ERR_MACHINERY_INVALID_SIGNATURE, ERR_MACHINERY_INVALID_ARGUMENT, ERR_MACHINERY_CALLBACKS_TOO_DEEP.
 */
export function checkSignature(signature: Signature): Signature {
  return check(signature, '', 0);
}

/** Refuses what is no signature at all. */
export function checkIsSignature(signature: unknown, path = ''): asserts signature is Signature {
  const isObject = object(signature) === undefined;
  if (isObject && 'name' in (signature as object)) return;
  const hint = hintFor(signature);
  if (isObject && hint === '') return; // that its name is missing says enough
  const text = `Expected ${path === '' ? '' : `${path} to be `}a signature, got ${show(signature)}${hint}`;
  throw wrong('ERR_MACHINERY_INVALID_SIGNATURE', text);
}

/** What may have been meant in place of a signature. */
export function hintFor(value: unknown): string {
  if (typeof value === 'function') return ': call the task to get one';
  if (Array.isArray(value)) return ': make it a workflow with chain, group or chord';
  const { then, get } = (value ?? {}) as { readonly then?: unknown; readonly get?: unknown };
  if (typeof then === 'function') return ': it is a promise';
  return typeof get === 'function' ? ': it is the result of what was sent' : '';
}

function check(signature: Signature, path: string, depth: number): Signature {
  if (depth > maxCallbackDepth)
    throw wrong('ERR_MACHINERY_CALLBACKS_TOO_DEEP', `Callbacks nest deeper than ${maxCallbackDepth}, or in a circle`);
  checkIsSignature(signature, path);
  const at = path === '' ? '' : `${path}.`;
  if (string(signature.name) !== undefined)
    throw wrong(
      'ERR_MACHINERY_INVALID_SIGNATURE',
      `Expected \`${at}name\` to be ${string(signature.name)}, got ${show(signature.name)}`,
    );
  for (const [field, fieldCheck] of fieldChecks) {
    const expected = signature[field] === undefined ? undefined : fieldCheck(signature[field]);
    if (expected !== undefined)
      throw wrong(
        'ERR_MACHINERY_INVALID_SIGNATURE',
        `Task ${signature.name}: expected \`${at}${field}\` to be ${expected}, got ${show(signature[field])}`,
      );
  }
  if (depth > 0) refuseDelay(signature, path);
  const { args, onSuccess, onError, chordCallback } = signature;
  if (isBuilt(signature) && onSuccess === undefined && onError === undefined && chordCallback === undefined)
    return signature;
  const all = (callbacks: readonly Signature[], name: string) =>
    callbacks.map((callback, i) => check(callback, `${at}${name}[${i}]`, depth + 1));
  return withheld({
    ...signature,
    ...(args !== undefined &&
      !isBuilt(signature) && { args: args.map((arg, i) => checkArg(arg, signature.name, `${at}args[${i}]`)) }),
    ...(onSuccess !== undefined && { onSuccess: all(onSuccess, 'onSuccess') }),
    ...(onError !== undefined && { onError: all(onError, 'onError') }),
    ...(chordCallback !== undefined && { chordCallback: check(chordCallback, `${at}chordCallback`, depth + 1) }),
  });
}

/** @throws MachineryError ERR_MACHINERY_INVALID_SIGNATURE when the signature, which follows another one, has a `delayMs`. */
export function refuseDelay(signature: Signature, path = 'which follows another one'): void {
  if (delayOf(signature) === undefined) return;
  throw wrong(
    'ERR_MACHINERY_INVALID_SIGNATURE',
    `Task ${signature.name} (${path}): \`delayMs\` is not for callbacks, as it counts from the time of sending; let the callback throw RetryLater, or set \`eta\``,
  );
}

/**
 * The signature as Immutable when what follows it ignores its results: Go has one flag for all its callbacks.
 * @throws MachineryError ERR_MACHINERY_INVALID_SIGNATURE when they do not agree.
 */
export function withheld<T extends Signature>(signature: T): T {
  const { name, immutable, onSuccess = [] } = signature;
  const ignoring = onSuccess.filter(ignoresResult).length;
  if (ignoring === 0 || immutable === true) return signature;
  if (ignoring === onSuccess.length) return { ...signature, immutable: true };
  const { name: other } = onSuccess.find((callback) => !ignoresResult(callback)) as Signature;
  throw wrong(
    'ERR_MACHINERY_INVALID_SIGNATURE',
    `Task ${name}: of what follows it, ${onSuccess.find(ignoresResult)?.name} ignores its result and ${other} takes it, and Go's Immutable knows only all or none: give all of them \`ignoreResult\`, or none`,
  );
}

function checkArg(arg: Arg, task: string, path: string): Arg {
  if (object(arg) !== undefined || typeof arg.type !== 'string') {
    throw wrong(
      'ERR_MACHINERY_INVALID_SIGNATURE',
      `Task ${task}: expected \`${path}\` to be { type, value }, got ${show(arg)}`,
    );
  }
  if (!isWireType(arg.type))
    throw wrong(
      'ERR_MACHINERY_INVALID_ARGUMENT',
      `Task ${task}: \`${path}\`: ${arg.type} is not one of supported types`,
    );
  try {
    return { ...arg, value: toWireValue(arg.type, arg.value) };
  } catch (cause) {
    throw new MachineryError(
      'ERR_MACHINERY_INVALID_ARGUMENT',
      `Task ${task}: \`${path}\`: ${(cause as Error).message}`,
      { cause },
    );
  }
}

function wrong(code: MachineryErrorCode, message: string): MachineryError {
  return new MachineryError(code, message);
}
