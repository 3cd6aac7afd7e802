// Draws workflows: tasks, chains, groups and chords in every combination that core can send. The simplest come first, so
// that what fails shrinks to something readable.

import fc from 'fast-check';
import { agreeing } from './graph.ts';
import {
  chainOf,
  chordOf,
  codeOf,
  type Does,
  groupOf,
  labelled,
  type Sketch,
  type TaskSketch,
  task,
  type WorkflowSketch,
} from './sketch.ts';

/** A workflow that prints as the code that would make it. */
export class DrawnWorkflow {
  readonly sketch: WorkflowSketch;

  constructor(sketch: WorkflowSketch) {
    this.sketch = sketch;
  }

  [fc.toStringMethod](): string {
    return codeOf(this.sketch);
  }
}

export interface WorkflowConstraints {
  /** Without, there are chains and groups only. Default: true. */
  readonly chords?: boolean;
  /** How deep workflows nest. Default: 3. */
  readonly depth?: number;
}

export function workflows({ chords = true, depth = 3 }: WorkflowConstraints = {}): fc.Arbitrary<DrawnWorkflow> {
  const draw = new Draw(chords);
  const kinds = [draw.chain(depth, true), draw.group(depth), ...(chords ? [draw.chord(depth, true)] : [])];
  return fc
    .oneof(...(kinds as [fc.Arbitrary<WorkflowSketch>]))
    .map((sketch) => new DrawnWorkflow(agreeing(labelled(sketch))));
}

const seldom = (weight: number): fc.Arbitrary<boolean> =>
  fc.oneof({ weight: weight, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) });

const does: fc.Arbitrary<Does> = fc.oneof(
  { weight: 12, arbitrary: fc.constant('succeed') },
  { weight: 1, arbitrary: fc.constant('fail') },
  { weight: 1, arbitrary: fc.constant('fail once') },
);

/** @param callbacks how deep success and error callbacks nest. */
function tasks(callbacks: number): fc.Arbitrary<TaskSketch> {
  const some =
    callbacks === 0
      ? fc.constant([])
      : fc.oneof(
          { weight: 5, arbitrary: fc.constant([]) },
          { weight: 1, arbitrary: fc.array(tasks(callbacks - 1), { minLength: 1, maxLength: 2 }) },
        );
  return fc
    .record({
      does,
      turns: fc.nat(4),
      ignoreResult: seldom(10),
      immutable: seldom(15),
      onSuccess: some,
      onError: some,
    })
    .map((drawn) => task('', drawn));
}

class Draw {
  readonly #chords: boolean;
  readonly #task = tasks(2);

  constructor(chords: boolean) {
    this.#chords = chords;
  }

  /** @param last nothing follows it: it may be a group, or end in one. */
  #step(depth: number, last: boolean): fc.Arbitrary<Sketch> {
    if (depth <= 0) return this.#task;
    const more: fc.Arbitrary<Sketch>[] = [this.chain(depth - 1, last)];
    if (this.#chords) more.push(this.chord(depth - 1, last));
    if (last) more.push(this.group(depth - 1));
    return fc.oneof({ weight: 4, arbitrary: this.#task }, ...more.map((arbitrary) => ({ weight: 1, arbitrary })));
  }

  chain(depth: number, last: boolean): fc.Arbitrary<WorkflowSketch> {
    return fc
      .tuple(fc.array(this.#step(depth, false), { maxLength: 3 }), this.#step(depth, last))
      .map(([steps, end]) => chainOf(...steps, end));
  }

  group(depth: number): fc.Arbitrary<WorkflowSketch> {
    return this.#members(depth).map((members) => groupOf(...members));
  }

  chord(depth: number, last: boolean): fc.Arbitrary<WorkflowSketch> {
    const longCallback = fc
      .tuple(this.#task, fc.array(this.#step(depth - 1, false), { maxLength: 1 }), this.#step(depth - 1, last))
      .map(([first, steps, end]) => chainOf(first, ...steps, end));
    const callback = fc.oneof({ weight: 3, arbitrary: this.#task }, { weight: 1, arbitrary: longCallback });
    return fc.tuple(this.#members(depth), callback).map(([members, end]) => chordOf(members, end));
  }

  #members(depth: number): fc.Arbitrary<Sketch[]> {
    return fc.array(this.#step(depth - 1, false), { maxLength: 4 });
  }
}
