// What becomes of a workflow, computed from its sketch alone. Where several members of a group fail, any of them may be
// the one that is named: texts, and the arguments that hold them, are lists of what they may be.

import { followersOf, type Gathering, graphOf, type Node, passesOn, takesGroup } from './graph.ts';
import { partsOf, resultOf, type Sketch, tasksOf, thrownBy } from './sketch.ts';

/** How often a task runs, and with which arguments: one of these lists each time. */
interface Runs {
  readonly times: number;
  readonly argLists: Lists;
}

type Lists = readonly (readonly string[])[];

export interface Expected {
  /** By label; a task that is not here never runs. */
  readonly runs: ReadonlyMap<string, Runs>;
  readonly outcome: ExpectedOutcome;
  /** The error texts of tasks that end as FAILURE, by label: of those that threw, those that never ran, and callbacks. */
  readonly failures: ReadonlyMap<string, readonly string[]>;
  /** The results of tasks that end as SUCCESS, by label: one of these. */
  readonly successes: ReadonlyMap<string, readonly string[]>;
}

type ExpectedOutcome =
  | { readonly kind: 'value'; readonly value: unknown }
  /** The labels of the tasks that threw, of which one is to be named. */
  | { readonly kind: 'failure'; readonly labels: readonly string[] };

/** How an error names the task that failed, with its label in place of its UUID. */
const failureOf = (label: string, error: string): string => `Task step (${label}) failed: ${error}`;
const failureBefore = (label: string, error: string): string => `Task step (${label}) before it failed: ${error}`;

export function expectedOf(sketch: Sketch): Expected {
  const run = new Run();
  for (const entry of graphOf(sketch).entries) run.start(entry, [[]]);
  const { runs, failures, successes, threw } = run;
  const outcome = outcomeOf(sketch, successes, threw);
  return { runs, failures, successes, outcome };
}

class Run {
  readonly runs = new Map<string, Runs>();
  readonly failures = new Map<string, readonly string[]>();
  readonly successes = new Map<string, readonly string[]>();
  readonly threw = new Set<string>();
  /** What is known of each group: how many members have ended, and why its chord fails. */
  readonly #groups = new Map<Gathering, { ended: number; readonly errors: Set<string> }>();

  /** Starts a task that gets one of these lists of results, after its own argument. */
  start(node: Node, appended: Lists): void {
    this.#run(
      node,
      appended.map((results) => [node.sketch.label, ...results]),
    );
  }

  #run(node: Node, argLists: Lists): void {
    const { label, does } = node.sketch;
    this.runs.set(label, { times: does === 'fail once' ? 2 : 1, argLists });
    if (does === 'fail') {
      this.threw.add(label);
      this.#fail(node, [thrownBy(label)]);
      return;
    }
    const results = argLists.map((args) => resultOf(label, args));
    this.successes.set(label, results);
    const passed = passesOn(node) ? results.map((result) => [result]) : [[]];
    for (const follower of followersOf(node)) this.start(follower, passed);
    if (node.group !== undefined) this.#ended(node.group, []);
  }

  #fail(node: Node, texts: readonly string[]): void {
    const { label } = node.sketch;
    this.failures.set(label, texts);
    for (const callback of node.onError)
      this.#run(
        callback,
        texts.map((text) => [text, callback.sketch.label]),
      );
    if (node.group !== undefined)
      this.#ended(
        node.group,
        texts.map((text) => failureOf(label, text)),
      );
    for (const next of node.next) this.#skip(next, label, texts);
  }

  /** A task that will never run, because an earlier one failed. Of these, the members of groups are told. */
  #skip(node: Node, failed: string, texts: readonly string[]): void {
    const { label } = node.sketch;
    if (node.group !== undefined) {
      const told = texts.map((text) => failureBefore(failed, text));
      this.failures.set(label, told);
      // The callback is told of the task that failed, or a member that succeeds sees that this one has.
      const named = texts.map((text) => failureOf(failed, text));
      this.#ended(node.group, [...named, ...told.map((text) => failureOf(label, text))]);
    }
    for (const next of node.next) this.#skip(next, failed, texts);
  }

  #ended(group: Gathering, errors: readonly string[]): void {
    const known = this.#groups.get(group) ?? { ended: 0, errors: new Set<string>() };
    this.#groups.set(group, known);
    for (const error of errors) known.errors.add(error);
    if (++known.ended < group.members.length || group.callback === undefined) return;
    if (known.errors.size > 0) this.#fail(group.callback, [...known.errors]);
    else this.start(group.callback, takesGroup(group.callback) ? [this.#resultsOf(group)] : [[]]);
  }

  #resultsOf({ members }: Gathering): string[] {
    return members.flatMap(({ sketch }) => this.successes.get(sketch.label)?.[0] ?? []);
  }
}

function outcomeOf(
  sketch: Sketch,
  successes: ReadonlyMap<string, readonly string[]>,
  threw: ReadonlySet<string>,
): ExpectedOutcome {
  const labels = tasksOf(sketch).map(({ label }) => label);
  if (labels.every((label) => successes.has(label))) return { kind: 'value', value: workflowValue(sketch, successes) };
  return { kind: 'failure', labels: labels.filter((label) => threw.has(label)) };
}

function workflowValue(sketch: Sketch, successes: ReadonlyMap<string, readonly string[]>): unknown {
  if (sketch.kind === 'task') return successes.get(sketch.label)?.[0];
  if (sketch.kind === 'group') return sketch.members.map((member) => workflowValue(member, successes));
  return workflowValue(partsOf(sketch).at(-1) as Sketch, successes);
}
