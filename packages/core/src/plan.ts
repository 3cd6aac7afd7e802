// Makes Go's signatures of a workflow. A chain nests each step in the OnSuccess of the one before; the members of a chord
// carry its callback. What stands deeper is the same: a group in a chain is in the OnSuccess of the step before it. So one
// set of messages says all there is to do, and any worker, Go's too, carries it out.
//
// Invariant: every signature has its UUID before it is copied into another, so that all copies are of one task.

import { randomUUID } from 'node:crypto';
import { MachineryError } from './errors.ts';
import type { Signature } from './signature.ts';
import { ignoresResult, ignoringResult, type ReturnsSpec, type TaskSignature } from './task.ts';
import { checkIsSignature, checkSignature, refuseDelay, withheld } from './validation.ts';
import { type Chain, type Chord, type Group, isWorkflow, type Step, type Workflow } from './workflow.ts';

/** A workflow whose tasks have their UUIDs: what its results are made of. */
export type Planned = PlannedTask | PlannedChain | PlannedGroup | PlannedChord;
export interface PlannedTask {
  readonly kind: 'task';
  readonly uuid: string;
  readonly name: string;
  readonly definition: { readonly returns: ReturnsSpec } | undefined;
}
export interface PlannedChain {
  readonly kind: 'chain';
  readonly steps: readonly Planned[];
}
export interface PlannedGroup {
  readonly kind: 'group';
  readonly groupUuid: string;
  readonly members: readonly Planned[];
}
export interface PlannedChord {
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
  readonly entries: readonly Signature[];
  readonly groups: readonly GroupPlan[];
  /** Workers will have to look at states. */
  readonly hasChords: boolean;
}

/**
 * @throws MachineryError ERR_MACHINERY_INVALID_SIGNATURE, ERR_MACHINERY_INVALID_ARGUMENT.
 */
export function planOf(workflow: Workflow): Plan {
  const { planned: root, entries } = new Planner().plan(workflow);
  const groups = groupsOf(root).map(({ groupUuid, members }) => ({ groupUuid, members: members.map(endOf) }));
  return { root, entries, groups, hasChords: hasChord(root) };
}

/** A step, and the tasks that it begins with. */
interface Begun<P extends Planned = Planned> {
  readonly planned: P;
  readonly entries: Signature[];
}

/** What is done to the last task of a step, to tie it to what comes after; it may change the copy that it gets. Undefined: nothing comes after. */
type Tie = ((end: Signature) => Signature) | undefined;

/** Plans from the end: what comes after a step is in the messages of the step. */
class Planner {
  readonly #givenUuids = new Set<string>();

  /** @param prefix of the UUID of the task that the step begins with. */
  plan(step: Step, tie?: Tie, prefix = 'task'): Begun {
    if (!isWorkflow(step)) return this.#planTask(step, tie, prefix);
    if (step.kind === 'chain') return this.#planChain(step, tie, prefix);
    if (step.kind === 'chord') return this.#planChord(step, tie);
    if (tie === undefined) return this.#planMembers(step);
    throw invalid('Nothing can follow a group: make it a chord, whose callback gets the results of its members');
  }

  #planTask(signature: Signature, tie: Tie, prefix: string): Begun {
    checkIsSignature(signature);
    const { name, groupUuid, chordCallback } = signature;
    if (groupUuid || chordCallback !== undefined)
      throw invalid(`Task ${name} has a group or a chord of its own: the workflow gives it one`);
    const copy = { ...checkSignature(signature), uuid: this.#uuidOf(signature, prefix) };
    const { definition } = signature as Partial<TaskSignature>;
    return {
      planned: { kind: 'task', uuid: copy.uuid, name, definition },
      entries: [tie === undefined ? copy : tie(copy)],
    };
  }

  #uuidOf({ name, uuid }: Signature, prefix: string): string {
    if (!uuid) return `${prefix}_${randomUUID()}`;
    if (this.#givenUuids.has(uuid))
      throw invalid(`Task ${name} has the UUID ${uuid}, and so has another task of the workflow`);
    this.#givenUuids.add(uuid);
    return uuid;
  }

  #planChain(chain: Chain, tie: Tie, prefix: string): Begun {
    const steps: Planned[] = [];
    let entries: Signature[] = [];
    let after = tie;
    for (const [i, step] of [...nonEmpty(chain).entries()].reverse()) {
      const begun = this.plan(step, after, i === 0 ? prefix : 'task');
      steps.push(begun.planned);
      entries = begun.entries;
      if (i > 0) for (const entry of entries) refuseDelay(entry);
      after = followedBy(entries);
    }
    return { planned: { kind: 'chain', steps: steps.reverse() }, entries };
  }

  #planChord(chord: Chord, tie: Tie): Begun {
    if (beginsWithGroup(chord.callback)) throw invalid('A chord calls back one task, or a chain that begins with one');
    // Go: the callback's UUID is `chord_…`.
    const { planned: callback, entries } = this.plan(chord.callback, tie, 'chord');
    const [first] = entries as [Signature];
    refuseDelay(first);
    const group = this.#planMembers(chord, withoutResults(first));
    return {
      planned: { kind: 'chord', group: group.planned, callback },
      // An empty group has succeeded and has no results.
      entries: chord.members.length === 0 ? [ignoringResult(first)] : group.entries,
    };
  }

  #planMembers({ members }: Group | Chord, chordCallback?: Signature): Begun<PlannedGroup> {
    const groupUuid = `group_${randomUUID()}`;
    const membership = {
      groupUuid,
      groupTaskCount: members.length,
      ...(chordCallback !== undefined && { chordCallback }),
    };
    const tie = (end: Signature) => Object.assign(end, membership);
    const planned: Planned[] = [];
    const entries: Signature[] = [];
    for (const member of members) {
      const begun = this.plan(member, tie);
      planned.push(begun.planned);
      for (const entry of begun.entries) entries.push(entry);
    }
    return { planned: { kind: 'group', groupUuid, members: planned }, entries };
  }
}

function beginsWithGroup(step: Step): boolean {
  if (!isWorkflow(step)) return false;
  return step.kind !== 'chain' || beginsWithGroup(nonEmpty(step)[0]);
}

function nonEmpty({ steps }: Chain): readonly [Step, ...Step[]] {
  if (steps.length === 0) throw invalid('A chain needs at least one task');
  return steps as readonly [Step, ...Step[]];
}

function followedBy(entries: readonly Signature[]): Tie {
  return (end) => withheld({ ...end, onSuccess: [...(end.onSuccess ?? []), ...entries] });
}

/** Go's Immutable on a callback: it gets no results, and passes none on. */
function withoutResults(callback: Signature): Signature {
  if (!ignoresResult(callback) || callback.immutable === true) return callback;
  const taking = callback.onSuccess?.find((next) => !ignoresResult(next));
  if (taking === undefined) return { ...callback, immutable: true };
  throw invalid(
    `Task ${callback.name} ignores the results of its group, which in Go's messages withholds its own result from ${taking.name}, too: ` +
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

function invalid(text: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_SIGNATURE', text);
}
