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
  const planner = new Planner();
  const root = planner.plan(workflow);
  const groups = groupsOf(root).map(({ groupUuid, members }) => ({ groupUuid, members: members.map(endOf) }));
  return { root, entries: planner.begin(root), groups, hasChords: hasChord(root) };
}

/** What is done to the last task of a step, to tie it to what comes after. Undefined: nothing comes after. */
type Tie = ((end: Signature) => Signature) | undefined;

class Planner {
  /** By UUID; not in the plan, which outlives the sending. */
  readonly #signatures = new Map<string, Signature>();

  plan(step: Step): Planned {
    if (!isWorkflow(step)) return this.#planTask(step);
    if (step.kind === 'chain') return { kind: 'chain', steps: nonEmpty(step).map((one) => this.plan(one)) };
    if (step.kind === 'group') return this.#planGroup(step);
    return { kind: 'chord', group: this.#planGroup(step), callback: this.#planCallback(step.callback) };
  }

  #planTask(signature: Signature, prefix = 'task'): PlannedTask {
    checkIsSignature(signature);
    const { name } = signature;
    if (signature.groupUuid || signature.chordCallback !== undefined)
      throw invalid(`Task ${name} has a group or a chord of its own: the workflow gives it one`);
    const uuid = signature.uuid || `${prefix}_${randomUUID()}`;
    if (this.#signatures.has(uuid))
      throw invalid(`Task ${name} has the UUID ${uuid}, and so has another task of the workflow`);
    this.#signatures.set(uuid, checkSignature(signature));
    return { kind: 'task', uuid, name, definition: (signature as Partial<TaskSignature>).definition };
  }

  #planGroup({ members }: Group | Chord): PlannedGroup {
    return { kind: 'group', groupUuid: `group_${randomUUID()}`, members: members.map((member) => this.plan(member)) };
  }

  /** Go: the callback's UUID is `chord_…`. */
  #planCallback(callback: Step): Planned {
    if (!isWorkflow(callback)) return this.#planTask(callback, 'chord');
    if (callback.kind !== 'chain') throw invalid('A chord calls back one task, or a chain that begins with one');
    const [first, ...rest] = nonEmpty(callback);
    return { kind: 'chain', steps: [this.#planCallback(first), ...rest.map((step) => this.plan(step))] };
  }

  /** The tasks that a step begins with. */
  begin(step: Planned, tie?: Tie): Signature[] {
    switch (step.kind) {
      case 'task': {
        const signature = { ...(this.#signatures.get(step.uuid) as Signature), uuid: step.uuid };
        return [tie === undefined ? signature : tie(signature)];
      }
      case 'chain':
        return this.#beginChain(step, tie);
      case 'group':
        if (tie === undefined) return this.#beginMembers(step);
        throw invalid('Nothing can follow a group: make it a chord, whose callback gets the results of its members');
      case 'chord':
        return this.#beginChord(step, tie);
    }
  }

  #beginChain({ steps }: PlannedChain, tie: Tie): Signature[] {
    let entries: Signature[] = [];
    let tieStep = tie;
    for (const step of steps.toReversed()) {
      entries = this.begin(step, tieStep);
      if (step !== steps[0]) for (const entry of entries) refuseDelay(entry);
      tieStep = followedBy(entries);
    }
    return entries;
  }

  #beginChord({ group, callback }: PlannedChord, tie: Tie): Signature[] {
    const [first] = this.begin(callback, tie) as [Signature];
    refuseDelay(first);
    // An empty group has succeeded and has no results.
    if (group.members.length === 0) return [ignoringResult(first)];
    return this.#beginMembers(group, withoutResults(first));
  }

  #beginMembers({ groupUuid, members }: PlannedGroup, chordCallback?: Signature): Signature[] {
    const membership = {
      groupUuid,
      groupTaskCount: members.length,
      ...(chordCallback !== undefined && { chordCallback }),
    };
    return members.flatMap((member) => this.begin(member, (end) => Object.assign(end, membership)));
  }
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
