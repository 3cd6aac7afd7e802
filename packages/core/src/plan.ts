// Makes Go's signatures of a workflow. A chain nests each step in the OnSuccess of the one before; the members of a chord
// carry its callback. What stands deeper is the same: a group in a chain is in the OnSuccess of the step before it. So one
// set of messages says all there is to do, and any worker, Go's too, carries it out.
//
// Invariant: every signature has its UUID before it is copied into another, so that all copies are of one task.

import { randomUUID } from 'node:crypto';
import { MachineryError } from './errors.ts';
import { newTaskUuid } from './sender.ts';
import type { Signature } from './signature.ts';
import { ignoresResult, ignoringResult, type ReturnsSpec, type TaskSignature } from './task.ts';
import { checkIsSignature, checkSignature, refuseDelay, withheld } from './validation.ts';
import { type Chain, type Chord, type Group, isWorkflow, type Step, type Workflow } from './workflow.ts';

/** A workflow whose tasks are checked and have their UUIDs: what results are made of. */
export type Planned = PlannedTask | PlannedChain | PlannedGroup | PlannedChord;
export interface PlannedTask {
  readonly kind: 'task';
  readonly signature: Signature & { readonly uuid: string };
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

/** Whatever `send` takes. */
export interface Plan {
  readonly root: Planned;
  /** What is published to begin. */
  readonly entries: readonly Signature[];
  /** All groups, those that begin later, too: their metas and the PENDING of their members are stored before anything is published. */
  readonly groups: readonly { readonly groupUuid: string; readonly members: readonly PlannedTask['signature'][] }[];
  /** Workers will have to look at states. */
  readonly hasChords: boolean;
}

/**
 * @throws MachineryError ERR_MACHINERY_INVALID_SIGNATURE, ERR_MACHINERY_INVALID_ARGUMENT, ERR_MACHINERY_CALLBACKS_TOO_DEEP.
 */
export function planOf(workflow: Workflow): Plan {
  const root = planned(workflow);
  const groups = groupsOf(root).map(({ groupUuid, members }) => ({ groupUuid, members: members.map(endOf) }));
  return { root, entries: begin(root), groups, hasChords: hasChord(root) };
}

function planned(step: Step): Planned {
  if (!isWorkflow(step)) return plannedTask(step);
  if (step.kind === 'chain') return { kind: 'chain', steps: nonEmpty(step).map(planned) };
  if (step.kind === 'group') return plannedGroup(step);
  return { kind: 'chord', group: plannedGroup(step), callback: plannedCallback(step.callback) };
}

function plannedTask(signature: Signature, prefix = 'task'): PlannedTask {
  checkIsSignature(signature);
  if (signature.groupUuid || signature.chordCallback !== undefined)
    throw invalid(`Task ${signature.name} has a group or a chord of its own: the workflow gives it one`);
  const checked = checkSignature(signature);
  const uuid = signature.uuid || (prefix === 'task' ? newTaskUuid() : `${prefix}_${randomUUID()}`);
  const { definition } = signature as Partial<TaskSignature>;
  return { kind: 'task', signature: { ...checked, uuid }, definition };
}

function plannedGroup({ members }: Group | Chord): PlannedGroup {
  return { kind: 'group', groupUuid: `group_${randomUUID()}`, members: members.map(planned) };
}

/** Go: the callback's UUID is `chord_…`. */
function plannedCallback(callback: Step): Planned {
  if (!isWorkflow(callback)) return plannedTask(callback, 'chord');
  if (callback.kind !== 'chain') throw invalid('A chord calls back one task, or a chain that begins with one');
  const [first, ...rest] = nonEmpty(callback);
  return { kind: 'chain', steps: [plannedCallback(first), ...rest.map(planned)] };
}

function nonEmpty({ steps }: Chain): readonly [Step, ...Step[]] {
  if (steps.length === 0) throw invalid('A chain needs at least one task');
  return steps as readonly [Step, ...Step[]];
}

/** What is done to the last task of a step, to tie it to what comes after. Undefined: nothing comes after. */
type Tie = ((end: Signature) => Signature) | undefined;

/** The tasks that a step begins with. */
function begin(step: Planned, tie?: Tie): Signature[] {
  switch (step.kind) {
    case 'task':
      return [tie === undefined ? step.signature : tie(step.signature)];
    case 'chain':
      return step.steps.reduceRight<{ entries: Signature[]; tie: Tie }>(
        (after, one, i) => {
          const entries = begin(one, after.tie);
          return { entries, tie: i === 0 ? undefined : followedBy(entries) };
        },
        { entries: [], tie },
      ).entries;
    case 'group':
      if (tie !== undefined)
        throw invalid('Nothing can follow a group: make it a chord, whose callback gets the results of its members');
      return beginMembers(step);
    case 'chord':
      return beginChord(step, tie);
  }
}

function followedBy(entries: readonly Signature[]): Tie {
  for (const entry of entries) refuseDelay(entry);
  return (end) => withheld({ ...end, onSuccess: [...(end.onSuccess ?? []), ...entries] });
}

function beginChord({ group, callback }: PlannedChord, tie: Tie): Signature[] {
  const [first] = begin(callback, tie) as [Signature];
  refuseDelay(first);
  // An empty group has succeeded and has no results.
  if (group.members.length === 0) return [ignoringResult(first)];
  return beginMembers(group, withoutResults(first));
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

function beginMembers({ groupUuid, members }: PlannedGroup, chordCallback?: Signature): Signature[] {
  const membership = {
    groupUuid,
    groupTaskCount: members.length,
    ...(chordCallback !== undefined && { chordCallback }),
  };
  return members.flatMap((member) => begin(member, (end) => ({ ...end, ...membership })));
}

/** The task whose end is the end of a member. */
function endOf(member: Planned): PlannedTask['signature'] {
  if (member.kind === 'task') return member.signature;
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
