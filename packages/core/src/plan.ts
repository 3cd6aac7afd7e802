// Makes Go's signatures of a workflow. A chain nests each step in the OnSuccess of the one before; the members of a chord
// carry its callback. What stands deeper is the same: a group in a chain is in the OnSuccess of the step before it. So one
// set of messages says all there is to do, and any worker, Go's too, carries it out.
//
// Invariant: every signature has its UUID before it is copied into another, so that all copies are of one task.

import { MachineryError } from './errors.ts';
import { type Draft, draftOf, type Named, withUuids } from './sender.ts';
import type { Signature } from './signature.ts';
import { ignoresResult, ignoringResult, keepUnwritten, type ReturnsSpec, type TaskSignature } from './task.ts';
import { newUuid } from './uuid.ts';
import { checkIsSignature, checkSignature, refuseDelay, withheld } from './validation.ts';
import { type AnyWorkflow, type Chain, type Chord, type Group, isWorkflow, type Step } from './workflow.ts';

/** A workflow whose tasks have their UUIDs: what its results are made of. */
export type Planned = PlannedTask | PlannedChain | PlannedGroup | PlannedChord;
interface PlannedTask {
  readonly kind: 'task';
  readonly uuid: string;
  readonly name: string;
  readonly definition: { readonly returns: ReturnsSpec } | undefined;
}
interface PlannedChain {
  readonly kind: 'chain';
  readonly steps: readonly Planned[];
}
interface PlannedGroup {
  readonly kind: 'group';
  readonly groupUuid: string;
  readonly members: readonly Planned[];
}
interface PlannedChord {
  readonly kind: 'chord';
  readonly group: PlannedGroup;
  readonly callback: Planned;
}

/** All groups, those that begin later, too: their metas and the PENDING of their members are stored before anything is published. */
export interface GroupPlan {
  readonly groupUuid: string;
  readonly members: readonly PlannedTask[];
}

export interface Plan {
  readonly root: Planned;
  /** What is published to begin. */
  readonly entries: readonly Named[];
  readonly groups: readonly GroupPlan[];
  /** Workers will have to look at states. */
  readonly hasChords: boolean;
}

/**
 * @throws MachineryError ERR_MACHINERY_INVALID_SIGNATURE, ERR_MACHINERY_INVALID_ARGUMENT.
 */
export function planOf(workflow: AnyWorkflow): Plan {
  const { planned: root, entries } = new Planner().plan(workflow);
  const groups = groupsOf(root).map(({ groupUuid, members }) => ({ groupUuid, members: members.map(endOf) }));
  return { root, entries, groups, hasChords: hasChord(root) };
}

/** @throws MachineryError ERR_MACHINERY_INVALID_SIGNATURE, ERR_MACHINERY_INVALID_ARGUMENT for what can never be sent. */
export function checkSendable(what: Signature | AnyWorkflow): void {
  if (isWorkflow(what)) planOf(what);
  else checkSignature(what);
}

/** A copy whose tasks have new UUIDs, whatever they had: another sending of the same. */
export function withNewUuids(what: Signature | AnyWorkflow): Signature | AnyWorkflow {
  if (!isWorkflow(what)) checkSignature(what); // its callbacks may be in a circle
  return renewed(what, 'task');
}

function renewed(step: Step, prefix: string): Step {
  if (!isWorkflow(step)) return withNewUuid(step, prefix);
  if (step.kind === 'chain')
    return { ...step, steps: step.steps.map((one, i) => renewed(one, i === 0 ? prefix : 'task')) };
  const members = step.members.map((member) => renewed(member, 'task'));
  if (step.kind === 'group') return { ...step, members } as Step;
  return { ...step, members, callback: renewed(step.callback, 'chord') } as Step;
}

function withNewUuid<S extends Signature>(signature: S, prefix: string): S {
  const { onSuccess, onError, chordCallback } = signature;
  const copy: S = Object.create(Object.getPrototypeOf(signature));
  return Object.assign(copy, signature, {
    uuid: newUuid(prefix),
    ...(onSuccess !== undefined && { onSuccess: onSuccess.map((one) => withNewUuid(one, 'task')) }),
    ...(onError !== undefined && { onError: onError.map((one) => withNewUuid(one, 'task')) }),
    ...(chordCallback !== undefined && { chordCallback: withNewUuid(chordCallback, 'chord') }),
  });
}

/** A step, and the tasks that it begins with. */
interface Begun<P extends Planned = Planned> {
  readonly planned: P;
  readonly entries: Named[];
  /** How many signatures the entries hold, with all that follows them. */
  readonly size: number;
}

/** What comes after a step. */
interface After {
  /** Ties the last task of the step to it. */
  readonly tie: (end: Draft) => void;
  /** How many signatures that adds. */
  readonly size: number;
}

/** How many signatures the messages of one workflow may hold: each member of a chord carries all that comes after it. */
const maxSignatures = 1_000_000;

/** Plans from the end: what comes after a step is in the messages of the step. */
class Planner {
  readonly #givenUuids = new Set<string>();

  /** @param prefix of the UUID of the task that the step begins with. */
  plan(step: Step, after?: After, prefix = 'task'): Begun {
    if (!isWorkflow(step)) return this.#planTask(step, after, prefix);
    if (step.kind === 'chain') return this.#planChain(step, after, prefix);
    if (step.kind === 'chord') return this.#planChord(step, after);
    if (after === undefined) return this.#planMembers(step);
    throw invalid('Nothing can follow a group: make it a chord, whose callback gets the results of its members');
  }

  #planTask(signature: Signature, after: After | undefined, prefix: string): Begun {
    checkIsSignature(signature);
    const { name, groupUuid, chordCallback, immutable } = signature;
    if (groupUuid || chordCallback !== undefined)
      throw invalid(`Task ${name} has a group or a chord of its own: the workflow gives it one`);
    const draft = draftOf(checkSignature(signature));
    keepUnwritten(signature, draft);
    const uuid = this.#uuidOf(signature, prefix);
    draft.uuid = uuid;
    if (draft.onSuccess !== undefined) {
      draft.onSuccess = draft.onSuccess.map(named);
      draft.immutable = immutable; // what its callbacks want is decided anew, with what comes after
    }
    if (draft.onError !== undefined) draft.onError = draft.onError.map(named);
    after?.tie(draft);
    const { definition } = signature as Partial<TaskSignature>;
    return {
      planned: { kind: 'task', uuid, name, definition },
      entries: [withheld(draft as Named)],
      size: 1 + (after?.size ?? 0),
    };
  }

  #uuidOf({ name, uuid }: Signature, prefix: string): string {
    if (!uuid) return newUuid(prefix);
    if (this.#givenUuids.has(uuid))
      throw invalid(`Task ${name} has the UUID ${uuid}, and so has another task of the workflow`);
    this.#givenUuids.add(uuid);
    return uuid;
  }

  #planChain(chain: Chain<never>, after: After | undefined, prefix: string): Begun {
    const steps: Planned[] = [];
    let begun: Begun | undefined;
    for (const [i, step] of [...nonEmpty(chain).entries()].reverse()) {
      begun = this.plan(step, begun === undefined ? after : followedBy(begun), i === 0 ? prefix : 'task');
      steps.push(begun.planned);
      if (i > 0) for (const entry of begun.entries) refuseDelay(entry);
    }
    const { entries, size } = begun as Begun;
    return { planned: { kind: 'chain', steps: steps.reverse() }, entries, size };
  }

  #planChord(chord: Chord<never>, after: After | undefined): Begun {
    // Go: the callback's UUID is `chord_…`.
    const { planned: callback, entries, size } = this.plan(chord.callback, after, 'chord');
    const [first] = entries as [Named];
    refuseDelay(first);
    // An empty group has succeeded and has no results.
    const isEmpty = chord.members.length === 0;
    const called = isEmpty ? ignoringResult(first) : withoutResults(first, firstTask(chord.callback));
    const group = this.#planMembers(chord, { callback: called, size });
    const planned: Planned = { kind: 'chord', group: group.planned, callback };
    return isEmpty ? { planned, entries: [called], size } : { planned, entries: group.entries, size: group.size };
  }

  #planMembers(
    { members }: Group<never> | Chord<never>,
    chord?: { readonly callback: Signature; readonly size: number },
  ): Begun<PlannedGroup> {
    const groupUuid = newUuid('group');
    const tie = (end: Draft) => {
      end.groupUuid = groupUuid;
      end.groupTaskCount = members.length;
      end.chordCallback = chord?.callback;
    };
    const after = { tie, size: chord?.size ?? 0 };
    const planned: Planned[] = [];
    const entries: Named[] = [];
    let size = 0;
    for (const member of members) {
      const begun = this.plan(member, after);
      planned.push(begun.planned);
      for (const entry of begun.entries) entries.push(entry);
      size += begun.size;
      if (size > maxSignatures) throw tooLarge();
    }
    return { planned: { kind: 'group', groupUuid, members: planned }, entries, size };
  }
}

/** A callback with all its UUIDs, which still says what it ignores. */
function named(callback: Signature): Signature {
  const copy = withUuids(callback) as Signature;
  return ignoresResult(callback) ? ignoringResult(copy) : copy;
}

/** The task that a chord calls back. */
function firstTask(callback: Step): Signature {
  if (!isWorkflow(callback)) return callback;
  if (callback.kind === 'chain') return firstTask(nonEmpty(callback)[0]);
  throw invalid('A chord calls back one task, or a chain that begins with one');
}

function nonEmpty({ steps }: Chain<never>): readonly [Step, ...Step[]] {
  if (steps.length === 0) throw invalid('A chain needs at least one task');
  return steps as readonly [Step, ...Step[]];
}

function followedBy({ entries, size }: Begun): After {
  const tie = (end: Draft) => {
    end.onSuccess = end.onSuccess === undefined ? entries : [...end.onSuccess, ...entries];
  };
  return { tie, size };
}

/** Go's Immutable on a callback: it gets no results, and passes none on. `given` is the callback as it was, without what follows. */
function withoutResults(callback: Named, given: Signature): Named {
  const { name, immutable, onSuccess = [] } = callback;
  if (given.immutable === true || (!ignoresResult(callback) && immutable !== true)) return callback;
  const ignoring = onSuccess.find(ignoresResult);
  if (!ignoresResult(callback))
    throw invalid(
      `Task ${ignoring?.name} ignores the result of ${name}, which in Go's messages withholds the results of the group from ${name}, too: ` +
        'let a task between them ignore it, or give both `ignoreResult`',
    );
  const taking = onSuccess.find((next) => !ignoresResult(next));
  if (taking === undefined) return { ...callback, immutable: true };
  throw invalid(
    `Task ${name} ignores the results of its group, which in Go's messages withholds its own result from ${taking.name}, too: ` +
      'let a task between them take what it needs, or give both `ignoreResult`',
  );
}

/** The task whose end is the end of a member. */
function endOf(member: Planned): PlannedTask {
  if (member.kind === 'task') return member;
  if (member.kind === 'chord') return endOf(member.callback);
  const last = member.kind === 'chain' ? member.steps.at(-1) : undefined;
  if (last === undefined || last.kind === 'group') throw invalid('A group cannot be the member of a group');
  return endOf(last);
}

function groupsOf(step: Planned): PlannedGroup[] {
  if (step.kind === 'task') return [];
  if (step.kind === 'chain') return step.steps.flatMap(groupsOf);
  if (step.kind === 'chord') return [...groupsOf(step.group), ...groupsOf(step.callback)];
  return [step, ...step.members.flatMap(groupsOf)];
}

function hasChord(step: Planned): boolean {
  if (step.kind === 'task') return false;
  return step.kind === 'chord' || (step.kind === 'chain' ? step.steps : step.members).some(hasChord);
}

function tooLarge(): MachineryError {
  const text = `The messages of this workflow would hold more than ${maxSignatures} signatures: each member of a chord carries all that comes after it. Let the callback of a chord send what comes next`;
  return new MachineryError('ERR_MACHINERY_MESSAGE_TOO_LARGE', text);
}

function invalid(text: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_SIGNATURE', text);
}
