// Compositions of tasks: chain, group and chord, as plain immutable data with the types of what flows between the steps.
// `plan.ts` makes Go's signatures of them, `workflow-sender.ts` sends those, `workflow-result.ts` has what comes back.

import { MachineryError } from './errors.ts';
import { object, show } from './options.ts';
import type { Signature } from './signature.ts';
import type { Gives, PlainSignature, Result, ReturnsSpec, Slot, TaskSignature } from './task.ts';
import { hintFor } from './validation.ts';

/** What all compositions have for the compiler: the values they take, those they hand on, and what `get` gives. */
interface Typed<Accepts, Gives, Value> {
  readonly accepts?: (appended: Accepts) => void;
  readonly gives?: Gives;
  readonly value?: Value;
}

/** Tasks one after another: each gets the results of the one before as its last arguments. */
export interface Chain<Accepts = [], Gives = unknown, Value = unknown> extends Typed<Accepts, Gives, Value> {
  readonly kind: 'chain';
  readonly steps: readonly Step[];
}

/** Tasks beside each other. */
export interface Group<Accepts = [], Gives = unknown, Value = unknown> extends Typed<Accepts, Gives, Value> {
  readonly kind: 'group';
  readonly members: readonly GroupMember[];
}

/** A group, and a callback that gets the results of all members, in their order, when all have succeeded. */
export interface Chord<Accepts = [], Gives = unknown, Value = unknown> extends Typed<Accepts, Gives, Value> {
  readonly kind: 'chord';
  readonly members: readonly GroupMember[];
  readonly callback: ChordCallback;
}

/** A workflow that can be sent, whose `get` gives `Value`. */
export type Workflow<Value = unknown> =
  | Chain<[], unknown, Value>
  | Group<[], unknown, Value>
  | Chord<[], unknown, Value>;
/** One that may still lack arguments. */
export type AnyWorkflow = Chain<never> | Group<never> | Chord<never>;

/** @inline */
type AnyTask = TaskSignature<ReturnsSpec, never> | PlainSignature;
/** What a group may consist of. A chain counts as finished with its last task, a chord with its callback. */
export type GroupMember = AnyTask | Chain<never> | Chord<never>;
/** What a chain may consist of. A group only as its end: what follows a group is a chord's callback. */
export type Step = AnyTask | AnyWorkflow;
/** What a chord may call back: a task, or a chain that begins with one. */
export type ChordCallback = AnyTask | Chain<never>;

/** The values that are appended to the arguments of a step. */
type AcceptsOf<S> = S extends { readonly accepts?: (appended: infer A) => void } ? A : readonly Slot[];
type GivesOf<S> = S extends Typed<never, infer G, unknown> & { readonly kind: string }
  ? G
  : S extends TaskSignature<infer R, never>
    ? Gives<R>
    : // A plain signature: nobody knows.
      // biome-ignore lint/suspicious/noExplicitAny: passes for whatever the next step takes
      any;
type ValueOf<S> = S extends Typed<never, unknown, infer V> & { readonly kind: string }
  ? V
  : S extends TaskSignature<infer R, never>
    ? Result<R>
    : unknown;

/** Takes the values `G`, whatever else it is: a signature or a workflow. */
interface Taking<G> extends Partial<Signature> {
  readonly kind?: string;
  readonly accepts?: (appended: G) => void;
}

/** The steps as each must be to take what the one before gives. */
type Linked<S extends readonly unknown[]> = S extends readonly [infer First, ...infer Rest]
  ? readonly [First, ...LinkedAfter<GivesOf<First>, Rest>]
  : S extends readonly []
    ? readonly [Step]
    : S;
type LinkedAfter<G, S extends readonly unknown[]> = S extends readonly [infer Next, ...infer Rest]
  ? readonly [Taking<G>, ...LinkedAfter<GivesOf<Next>, Rest>]
  : S extends readonly []
    ? readonly []
    : readonly Taking<G>[]; // as many as there are: at least the first of them takes it
type FirstOf<S extends readonly unknown[]> = S extends readonly [infer First, ...unknown[]] ? First : S[number];
type LastOf<S extends readonly unknown[]> = S extends readonly [...unknown[], infer Last] ? Last : S[number];

/** All members take what is appended: the intersection of what they accept. */
type AcceptedByAll<M extends readonly unknown[]> = (
  M[number] extends infer One
    ? One extends unknown
      ? (accepts: AcceptsOf<One>) => void
      : never
    : never
) extends (accepts: infer All) => void
  ? All
  : never;
type GivenByAll<M extends readonly unknown[]> =
  IsAny<GivesOf<M[number]>> extends true
    ? // biome-ignore lint/suspicious/noExplicitAny: a plain signature is among them
      any
    : GivenInTurn<M>;
type IsAny<T> = 0 extends 1 & T ? true : false;
type GivenInTurn<M extends readonly unknown[]> = M extends readonly [infer First, ...infer Rest]
  ? [...Spreadable<GivesOf<First>>, ...GivenInTurn<Rest>]
  : M extends readonly []
    ? []
    : Spreadable<GivesOf<M[number]>>[number][];
type Spreadable<G> = G extends readonly unknown[] ? G : never;
type ValuesOf<M extends readonly unknown[]> = { -readonly [I in keyof M]: ValueOf<M[I]> };

/**
 * Tasks one after another. The compiler checks that each step takes what the one before returns; `partial` makes steps
 * that leave arguments to be filled in, `with({ ignoreResult: true })` steps that take nothing.
 *
 *     chain(add(1, 1), multiply.partial(4)) // 8
 *
 * @throws MachineryError ERR_MACHINERY_INVALID_SIGNATURE when there is no step, or one is none.
 */
export function chain<const S extends readonly Step[]>(
  ...steps: S & Linked<S>
): Chain<AcceptsOf<FirstOf<S>>, GivesOf<LastOf<S>>, ValueOf<LastOf<S>>>;
export function chain(...steps: readonly Step[]): Chain<never> {
  if (steps.length === 0) throw invalid('A chain needs at least one task');
  const list = checked('chain', steps);
  const place = list.findIndex((step, i) => i < list.length - 1 && endsInGroup(step));
  if (place >= 0)
    throw invalid(
      `chain: number ${place + 1} is a group or ends in one, and nothing can follow that: make it a chord, whose callback gets the results of its members`,
    );
  return { kind: 'chain', steps: list };
}

/**
 * Tasks beside each other. `get` gives their results in their order.
 * @throws MachineryError ERR_MACHINERY_INVALID_SIGNATURE for a member that is none.
 */
export function group<const M extends readonly GroupMember[]>(
  members: M,
): Group<AcceptedByAll<M>, GivenByAll<M>, ValuesOf<M>> {
  return { kind: 'group', members: checkedMembers('group', members) };
}

/**
 * A group and a callback that is sent once all members have succeeded, with their results in their order as its last
 * arguments. When a member fails, the callback fails without running, and its `onError` tasks are sent.
 *
 *     chord([add(1, 1), add(2, 2)], multiply.partial()) // 8
 *
 * @throws MachineryError ERR_MACHINERY_INVALID_SIGNATURE for a member or a callback that is none.
 */
export function chord<A, G, const C extends ChordCallback>(
  group: Group<A, G>,
  callback: C & Taking<G>,
): Chord<A, GivesOf<C>, ValueOf<C>>;
export function chord<const M extends readonly GroupMember[], const C extends ChordCallback>(
  members: M,
  callback: C & Taking<GivenByAll<M>>,
): Chord<AcceptedByAll<M>, GivesOf<C>, ValueOf<C>>;
export function chord(members: readonly GroupMember[] | Group<never>, callback: ChordCallback): Chord<never> {
  const list = isWorkflow(members) && members.kind === 'group' ? members.members : (members as readonly GroupMember[]);
  checkStep('chord: expected the callback', callback);
  if (isWorkflow(callback) && (callback as AnyWorkflow).kind !== 'chain')
    throw invalid(`chord: the callback is a ${callback.kind}: it must be a task, or a chain that begins with one`);
  return { kind: 'chord', members: checkedMembers('chord', list), callback };
}

/** Whether the value is a chain, a group or a chord; one made by another copy of this package, too. */
export function isWorkflow(value: unknown): value is AnyWorkflow {
  const { kind, steps, members } = (value ?? {}) as { kind?: unknown; steps?: unknown; members?: unknown };
  return kind === 'chain' ? Array.isArray(steps) : (kind === 'group' || kind === 'chord') && Array.isArray(members);
}

function checkedMembers(owner: string, members: readonly GroupMember[]): readonly GroupMember[] {
  const list = checked(owner, members);
  const place = list.findIndex(endsInGroup);
  if (place >= 0) throw invalid(`${owner}: number ${place + 1} is a group or ends in one, which cannot be a member`);
  return list as readonly GroupMember[];
}

function endsInGroup(step: Step): boolean {
  if (!isWorkflow(step)) return false;
  if (step.kind === 'group') return true;
  const last = step.kind === 'chain' ? step.steps.at(-1) : step.callback;
  return last !== undefined && endsInGroup(last);
}

function checked(owner: string, steps: readonly Step[]): readonly Step[] {
  if (!Array.isArray(steps)) throw invalid(`${owner}: expected an array of signatures, got ${show(steps)}`);
  steps.forEach((step, i) => {
    checkStep(`${owner}: expected number ${i + 1}`, step);
  });
  return Object.freeze([...steps]);
}

function checkStep(expected: string, step: unknown): void {
  if (isWorkflow(step) || (object(step) === undefined && 'name' in (step as object))) return;
  throw invalid(`${expected} to be a signature, got ${show(step)}${hintFor(step)}`);
}

function invalid(text: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_SIGNATURE', text);
}
