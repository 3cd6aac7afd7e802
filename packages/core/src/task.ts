// `defineTask`: the contract of one task, shared by those who send it and those who run it. Calling it checks and
// encodes the arguments into a signature; the server uses it to decode arguments and results.

import { header } from './headers.ts';
import {
  boolean,
  type Check,
  checkOptions,
  fn,
  integer,
  invalidOption,
  number,
  object,
  optional,
  show,
  string as text,
  timerMs,
} from './options.ts';
import { type Backoff, backoffChecks } from './retry.ts';
import type { Arg, Signature } from './signature.ts';
import type { TaskContext } from './task-context.ts';
import type { AnyType, Rest, Type } from './task-types.ts';
import { encodeArgs } from './task-values.ts';
import { isWireType, type WireType } from './wire/argument-types.ts';
import { timeCheck } from './wire/time.ts';

/** What a task takes: types in order, of which the last may be `rest(type)`, or `rest(type)` alone. */
export type ArgsSpec = Rest | readonly AnyType[] | readonly [...AnyType[], Rest];
/** What a task returns: one type, several in order (Go's multiple results), or nothing. */
export type ReturnsSpec = AnyType | readonly AnyType[] | undefined;

type InOf<T> = T extends Type<WireType, infer In, infer _> ? In : never;
type OutOf<T> = T extends Type<WireType, infer _, infer Out> ? Out : never;

/** What each side sees of a declared argument. */
interface Sides<T> {
  readonly caller: InOf<T>;
  readonly handler: OutOf<T>;
  readonly taken: Taken<T>;
}
/** The list of arguments as one side sees it. */
type ListOf<S, Side extends keyof Sides<AnyType>> =
  S extends Rest<infer T>
    ? Sides<T>[Side][]
    : S extends readonly [infer H, ...infer R]
      ? H extends Rest<infer T>
        ? Sides<T>[Side][]
        : [Sides<H>[Side], ...ListOf<R, Side>]
      : [];

/** The arguments that a caller gives. */
export type ArgsIn<S> = ListOf<S, 'caller'>;
/** The arguments that a handler gets. */
export type ArgsOut<S> = ListOf<S, 'handler'>;
/** What a handler returns. */
export type Returned<R> = R extends AnyType
  ? InOf<R>
  : R extends readonly AnyType[]
    ? { -readonly [K in keyof R]: InOf<R[K]> }
    : // biome-ignore lint/suspicious/noConfusingVoidType: the return type of a handler without results
      void;
/** What `get` gives. */
export type Result<R> = R extends AnyType
  ? OutOf<R>
  : R extends readonly AnyType[]
    ? { -readonly [K in keyof R]: OutOf<R[K]> }
    : undefined;

/** One value that passes from a task to its callback, as the compiler compares them: the wire type and the value's own. */
export interface Slot<Wire = unknown, Value = unknown> {
  readonly wire: Wire;
  readonly value: Value;
}
type Taken<T> = T extends Type<infer W, infer In, infer _> ? Slot<W, In> : never;
type Given<T> = T extends Type<infer W, infer _, infer Out> ? Slot<W, Out> : never;
/** The values that a task hands to its callbacks. */
export type Gives<R> = R extends AnyType
  ? [Given<R>]
  : R extends readonly AnyType[]
    ? { -readonly [K in keyof R]: Given<R[K]> }
    : [];
/** The values that a task takes. */
export type Takes<S> = ListOf<S, 'taken'>;
/** What a task still takes after `Given` arguments. */
export type TakesAfter<S, Given extends readonly unknown[]> = Given extends readonly [unknown, ...infer More]
  ? S extends Rest
    ? Takes<S>
    : S extends readonly [infer H, ...infer R]
      ? H extends Rest
        ? Takes<S>
        : TakesAfter<R, More>
      : []
  : Takes<S>;
/** Any beginning of a list of arguments. */
type Prefix<A extends readonly unknown[]> = A extends readonly [infer H, ...infer R]
  ? [] | [H, ...Prefix<R>]
  : number extends A['length']
    ? A
    : [];

/** What a task definition may set for all its signatures, and `with` or `send` for one. */
export interface TaskDefaults {
  /** The queue (on AMQP: the routing key) in place of the server's default queue. */
  readonly queue?: string;
  /** 0 to 255; AMQP only. */
  readonly priority?: number;
  /** How many times a failed attempt is tried again. Default 0. */
  readonly retries?: number;
  /** How long a failed attempt waits. Default: Go's, 1, 2, 3, 5, 8 … seconds. */
  readonly backoff?: Backoff;
  /** An attempt that takes longer fails, in milliseconds; its AbortSignal fires. Only workers of this project know it. */
  readonly timeoutMs?: number;
  /** A worker without this task drops the message instead of putting it back. */
  readonly ignoreWhenTaskNotRegistered?: boolean;
}

/** A signature whose arguments and results the compiler knows. */
export interface TaskSignature<R extends ReturnsSpec = ReturnsSpec, Accepts extends readonly Slot[] = readonly Slot[]>
  extends Signature {
  /** A copy that takes nothing from the step before it, in a chain or as a callback: all its arguments are given. */
  with(options: SignatureOptions<R> & { readonly ignoreResult: true }): TaskSignature<R, Slot[]>;
  /** A copy with other options. Headers are merged, everything else is replaced. */
  with(options: SignatureOptions<R> & StepOptions): TaskSignature<R, Accepts>;
  /** How its results are declared. */
  readonly definition: { readonly returns: R };
  /** Exists for the compiler only: what may be appended to its arguments. */
  readonly accepts?: (appended: Accepts) => void;
}

/** A signature that can be sent as it is: no argument is missing. */
export type CompleteSignature<R extends ReturnsSpec = ReturnsSpec> = TaskSignature<R, []> | TaskSignature<R, Slot[]>;

/** Options of one signature, whose results are declared as `R`. */
export type SignatureOptions<R = unknown> = CommonOptions & (PassingOn<R> | KeepingBack);

/** @inline */
interface CommonOptions extends TaskDefaults {
  /** Run not before this time: a Date, or RFC 3339 text in UTC with up to nine fractional digits. */
  readonly eta?: Date | string;
  /** Run not before this many milliseconds after it was sent. Not for callbacks: they have no time of sending yet. */
  readonly delayMs?: number;
  /** Text that travels with the task, through retries too. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Names the stored state; sent again, it starts over. Default: a new one. */
  readonly uuid?: string;
  /** Sent after the last failure; each takes the error's text as its first argument, before those that it was given. */
  readonly onError?: readonly (TaskSignature<ReturnsSpec, [Slot<'string', string>]> | PlainSignature)[];
  /** SQS FIFO queues: the message group. */
  readonly brokerMessageGroupId?: string;
  /** SQS: leave a failed task's message to the queue's own dead-letter policy. */
  readonly stopTaskDeletionOnError?: boolean;
}

/** Options of a signature in its place after another one. */
export interface StepOptions {
  /**
   * Do not append the results of the step before to the arguments. Travels as Go's Immutable of that step, which holds
   * for all its callbacks, so they must agree on it; of a chord's callback it withholds that callback's own results, too.
   */
  readonly ignoreResult?: boolean;
}

/** @inline */
interface PassingOn<R> {
  readonly immutable?: false;
  /** Sent after success; each takes the results as its last arguments, unless `immutable`. */
  readonly onSuccess?: readonly Callback<R>[];
}

/** @inline */
interface KeepingBack {
  /** Go: the results are not appended to the arguments of the success callbacks. */
  readonly immutable: true;
  /** Sent after success, as they are. */
  readonly onSuccess?: readonly (CompleteSignature | PlainSignature)[];
}

/** @inline */
type Callback<R> = R extends ReturnsSpec ? TaskSignature<ReturnsSpec, Gives<R>> | PlainSignature : Signature;

/** A signature without declared types, in Go's style. */
export type PlainSignature = Signature & {
  readonly definition?: never;
  /** Functions have a name, too. */
  readonly call?: never;
};

/** The function that runs a task: it gets the context and the arguments, and returns the results. */
export type HandlerOf<D> = D extends { readonly args: infer S; readonly returns: infer R }
  ? (context: TaskContext, ...args: ArgsOut<S>) => Returned<R> | Promise<Returned<R>>
  : never;

/** A task's contract: call it for a signature with all its arguments. */
export interface TaskDefinition<S extends ArgsSpec = ArgsSpec, R extends ReturnsSpec = ReturnsSpec> {
  (...args: ArgsIn<S>): TaskSignature<R, TakesAfter<S, ArgsIn<S>>>;
  /** The task's name on the wire. */
  readonly name: string;
  /** The declared types of its arguments. */
  readonly args: S;
  /** The declared types of its results. */
  readonly returns: R;
  /** A signature with the first arguments only: the step before it in a chain appends the rest. */
  partial<const P extends Prefix<ArgsIn<S>>>(...args: P): TaskSignature<R, TakesAfter<S, P>>;
}

const defaultsChecks = {
  queue: optional(text),
  priority: optional(integer({ min: 0, max: 255 })),
  retries: optional(integer({ min: 0, max: 2 ** 31 - 1 })),
  backoff: optional(object),
  timeoutMs: optional(timerMs({ min: 1 })),
  ignoreWhenTaskNotRegistered: optional(boolean),
};

/** Go's AMQP client refuses numbers that it decoded from JSON. */
const textHeaders: Check = (value) =>
  object(value) === undefined && Object.values(value as object).every((item) => typeof item === 'string')
    ? undefined
    : 'an object of strings';

const optionsChecks = {
  ...defaultsChecks,
  eta: optional(timeCheck),
  delayMs: optional(number({ min: 0 })),
  headers: optional(textHeaders),
  uuid: optional(text),
  immutable: optional(boolean),
  onSuccess: optional((value) => (Array.isArray(value) ? undefined : 'an array of signatures')),
  onError: optional((value) => (Array.isArray(value) ? undefined : 'an array of signatures')),
  brokerMessageGroupId: optional(text),
  stopTaskDeletionOnError: optional(boolean),
};

// What has no field on the wire; copies keep it, and other copies of this package know it.
const delayKey = Symbol.for('@machinery/core.delayMs');
const ignoreResultKey = Symbol.for('@machinery/core.ignoreResult');
interface Unwritten {
  [delayKey]?: number;
  [ignoreResultKey]?: boolean;
}

/** The signature's `delayMs`, for who sends it. */
export function delayOf(signature: Signature): number | undefined {
  return (signature as Unwritten)[delayKey];
}

/** Whether the signature wants nothing of the step before it. */
export function ignoresResult(signature: Signature): boolean {
  return (signature as Unwritten)[ignoreResultKey] === true;
}

/** Gives `copy` what `signature` has beside its fields. */
export function keepUnwritten(signature: Signature, copy: object): void {
  const { [delayKey]: delayMs, [ignoreResultKey]: ignores }: Unwritten = signature as Unwritten;
  if (delayMs !== undefined) (copy as Unwritten)[delayKey] = delayMs;
  if (ignores !== undefined) (copy as Unwritten)[ignoreResultKey] = ignores;
}

/** A copy that wants nothing of the step before it. */
export function ignoringResult<S extends Signature>(signature: S): S {
  return { ...signature, [ignoreResultKey]: true };
}

class BuiltSignature {
  readonly name: string;
  readonly args: readonly Arg[];
  readonly definition: { readonly returns: ReturnsSpec };

  /** `more`: whatever else the signature has; most have nothing. */
  constructor(
    name: string,
    args: readonly Arg[],
    definition: { readonly returns: ReturnsSpec },
    more?: Omit<Signature, 'name' | 'args'>,
  ) {
    this.name = name;
    this.args = args;
    this.definition = definition;
    if (more !== undefined) Object.assign(this, more);
  }

  with(options: SignatureOptions & StepOptions): TaskSignature {
    return withOptions(this as unknown as TaskSignature, options, { ignoreResult: optional(boolean) });
  }
}

/** Whether the value was made by `defineTask`; by another copy of this package, too. */
export function isTask(value: unknown): boolean {
  return typeof value === 'function' && 'partial' in value;
}

/** Whether the signature was made by `defineTask`, so that its arguments are checked and encoded. */
export function isBuilt(signature: Signature): boolean {
  return signature instanceof BuiltSignature;
}

/** A copy of any signature with options applied. */
export function withOptions<T extends Signature>(
  signature: T,
  options: SignatureOptions & StepOptions,
  moreChecks: Readonly<Record<string, Check>> = {},
): T {
  checkOptions<SignatureOptions>(`Options of task ${signature.name}`, options, { ...optionsChecks, ...moreChecks });
  const { definition, ...fields } = signature as Signature & { definition?: { returns: ReturnsSpec } };
  const { queue, retries, timeoutMs, backoff, headers, delayMs, eta, ignoreResult, ...same } = options;
  if (eta !== undefined && delayMs !== undefined)
    throw invalidOption(`Options of task ${signature.name}: give either \`eta\` or \`delayMs\`, not both`);
  const given = Object.entries(same).filter(([, value]) => value !== undefined);
  const { name, args, ...more }: Signature & Unwritten = {
    ...fields,
    ...(Object.fromEntries(given) as Partial<Signature>),
    ...(queue !== undefined && { routingKey: queue }),
    ...(retries !== undefined && { retryCount: retries }),
    ...mergedHeaders(signature, options),
  };
  if (eta !== undefined) {
    Object.assign(more, { eta });
    delete more[delayKey];
  }
  if (delayMs !== undefined) more[delayKey] = delayMs;
  if (ignoreResult !== undefined) more[ignoreResultKey] = ignoreResult;
  if (definition === undefined) return { name, ...(args !== undefined && { args }), ...more } as T;
  return new BuiltSignature(name, args ?? [], definition, more) as unknown as T;
}

function mergedHeaders(
  signature: Signature,
  { headers, timeoutMs, backoff }: SignatureOptions,
): { headers?: Record<string, unknown> } {
  if (headers === undefined && timeoutMs === undefined && backoff === undefined) return {};
  if (backoff !== undefined) checkOptions(`\`backoff\` of task ${signature.name}`, backoff, backoffChecks);
  return {
    headers: {
      ...signature.headers,
      ...headers,
      ...(timeoutMs !== undefined && { [header.timeoutMs]: String(timeoutMs) }),
      ...(backoff !== undefined && { [header.backoff]: JSON.stringify(backoff) }),
    },
  };
}

/**
 * Declares a task: its name, the types of its arguments and results, and defaults for its signatures.
 *
 *     const add = defineTask('add', { args: rest(int64), returns: int64 });
 *     add(1, 2); // a signature
 *
 * @throws MachineryError ERR_MACHINERY_INVALID_OPTION for a wrong declaration; calling the task throws
 * ERR_MACHINERY_INVALID_ARGUMENT for an argument that does not fit.
 */
export function defineTask<const S extends ArgsSpec = [], const R extends ReturnsSpec = undefined>(
  name: string,
  declaration: { readonly args?: S; readonly returns?: R } & TaskDefaults = {},
): TaskDefinition<S, R> {
  if (text(name) !== undefined) throw invalidOption(`Expected a task's name to be ${text(name)}, got ${show(name)}`);
  checkOptions(`defineTask('${name}')`, declaration, {
    ...defaultsChecks,
    args: optional(isArgsSpec),
    returns: optional(isReturnsSpec),
  });
  const { args = [] as unknown as S, returns, ...defaults } = declaration;
  const definition = { returns };
  const { name: _, ...base } = withOptions<Signature>({ name }, defaults);
  const more = Object.keys(base).length === 0 ? undefined : base;
  const build = (values: readonly unknown[], complete: boolean) =>
    new BuiltSignature(name, encodeArgs(name, args, values, complete), definition, more);
  const task = (...values: unknown[]) => build(values, true);
  Object.defineProperty(task, 'name', { value: name });
  return Object.assign(task, {
    args,
    returns,
    partial: (...values: unknown[]) => build(values, false),
  }) as unknown as TaskDefinition<S, R>;
}

const isType = (value: unknown): value is AnyType =>
  object(value) === undefined && isWireType((value as AnyType).wire) && fn((value as AnyType).encode) === undefined;
const isRest = (value: unknown): boolean => object(value) === undefined && isType((value as Rest).rest);

function isArgsSpec(value: unknown): string | undefined {
  const ok =
    isRest(value) ||
    (Array.isArray(value) && value.every((v, i) => isType(v) || (i === value.length - 1 && isRest(v))));
  if (ok) return undefined;
  const hint = isType(value) ? ' (one argument: `[type]`)' : '';
  return `rest(type) or an array of types of which only the last may be rest(type)${hint}`;
}

function isReturnsSpec(value: unknown): string | undefined {
  return isType(value) || (Array.isArray(value) && value.every(isType)) ? undefined : 'a type or an array of types';
}
