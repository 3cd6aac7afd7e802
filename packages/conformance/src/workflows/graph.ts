// What leads to what in a workflow: each task with those that follow its success, and the group that it is a member of.
// The model's own, made from the sketch alone.

import type { Sketch, TaskSketch } from './sketch.ts';

export interface Node {
  readonly sketch: TaskSketch;
  /** The tasks that the next step of its chain begins with. */
  next: readonly Node[];
  /** Its own success callbacks. */
  readonly onSuccess: readonly Node[];
  readonly onError: readonly Node[];
  group: Gathering | undefined;
  /** The group whose callback it is. */
  callbackOf: Gathering | undefined;
  /** The callback of an empty chord, which has no results for it. */
  afterNothing: boolean;
}

/** The members of a group by their last tasks, and what their chord calls back. */
export interface Gathering {
  readonly members: readonly Node[];
  readonly callback: Node | undefined;
}

export interface Part {
  readonly entries: readonly Node[];
  /** The task whose end is the end of the part; a group has none. */
  readonly end: Node | undefined;
}

export function graphOf(sketch: Sketch): Part {
  switch (sketch.kind) {
    case 'task': {
      const node = nodeOf(sketch);
      return { entries: [node], end: node };
    }
    case 'chain': {
      const parts = sketch.steps.map(graphOf);
      parts.forEach(({ end }, i) => {
        const after = parts[i + 1];
        if (end !== undefined && after !== undefined) end.next = after.entries;
      });
      return { entries: parts[0]?.entries ?? [], end: parts.at(-1)?.end };
    }
    case 'group':
      return { entries: gathered(sketch.members, undefined), end: undefined };
    case 'chord': {
      const { entries, end } = graphOf(sketch.callback);
      const [first] = entries as [Node];
      if (sketch.members.length > 0) return { entries: gathered(sketch.members, first), end };
      first.afterNothing = true;
      return { entries, end };
    }
  }
}

function nodeOf(sketch: TaskSketch): Node {
  return {
    sketch,
    next: [],
    onSuccess: sketch.onSuccess.map(nodeOf),
    onError: sketch.onError.map(nodeOf),
    group: undefined,
    callbackOf: undefined,
    afterNothing: false,
  };
}

function gathered(members: readonly Sketch[], callback: Node | undefined): readonly Node[] {
  const parts = members.map(graphOf);
  const group: Gathering = { members: parts.map(({ end }) => end as Node), callback };
  for (const member of group.members) member.group = group;
  if (callback !== undefined) callback.callbackOf = group;
  return parts.flatMap(({ entries }) => entries);
}

/** All nodes from the entries on, callbacks of chords too. */
function nodesFrom(entries: readonly Node[], found = new Set<Node>()): Set<Node> {
  for (const node of entries) {
    if (found.has(node)) continue;
    found.add(node);
    const callback = node.group?.callback;
    nodesFrom([...node.next, ...node.onSuccess, ...node.onError, ...(callback === undefined ? [] : [callback])], found);
  }
  return found;
}

/** Those that get its results, or would. */
export const followersOf = (node: Node): readonly Node[] => [...node.onSuccess, ...node.next];

/** Whether the task takes nothing of what comes before it. */
const ignores = ({ sketch, afterNothing }: Node): boolean => sketch.ignoreResult || afterNothing;

/** Whether a chord's callback gets the results of the group. */
export const takesGroup = ({ sketch }: Node): boolean => !sketch.ignoreResult && !sketch.immutable;

/** Whether what follows the task gets its results: Go has one flag for all, which of a chord's callback means the group's results, too. */
export function passesOn(node: Node): boolean {
  const { sketch, callbackOf, afterNothing } = node;
  if (sketch.immutable || ((callbackOf !== undefined || afterNothing) && sketch.ignoreResult)) return false;
  return !followersOf(node).some(ignores);
}

/**
 * The sketch as core can send it: where some of those that follow a task ignore its results, all of them do, and a chord's
 * callback whose results are ignored ignores those of its group. Changes it.
 */
export function agreeing<S extends Sketch>(sketch: S): S {
  const nodes = nodesFrom(graphOf(sketch).entries);
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of nodes) {
      if (node.sketch.immutable || passesOn(node)) continue;
      if (node.callbackOf !== undefined) node.sketch.ignoreResult = true;
      for (const follower of followersOf(node)) {
        if (ignores(follower)) continue;
        follower.sketch.ignoreResult = true;
        changed = true;
      }
    }
  }
  return sketch;
}
