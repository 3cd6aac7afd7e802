// A workflow as plain data: what the generator draws, the model computes with, and `building.ts` makes a real one of.

export type Does = 'succeed' | 'fail' | 'fail once';

export interface TaskSketch {
  readonly kind: 'task';
  /** Unique in its workflow; the task's first argument. */
  label: string;
  readonly does: Does;
  /** How many turns of the event loop it takes. */
  readonly turns: number;
  /** It takes nothing of the step before it. */
  ignoreResult: boolean;
  /** Go's Immutable: it passes nothing on. */
  readonly immutable: boolean;
  readonly onSuccess: readonly TaskSketch[];
  readonly onError: readonly TaskSketch[];
}

export interface ChainSketch {
  readonly kind: 'chain';
  readonly steps: readonly Sketch[];
}

export interface GroupSketch {
  readonly kind: 'group';
  readonly members: readonly Sketch[];
}

export interface ChordSketch {
  readonly kind: 'chord';
  readonly members: readonly Sketch[];
  readonly callback: Sketch;
}

export type Sketch = TaskSketch | ChainSketch | GroupSketch | ChordSketch;
export type WorkflowSketch = ChainSketch | GroupSketch | ChordSketch;

export function task(label: string, more: Partial<Omit<TaskSketch, 'kind' | 'label'>> = {}): TaskSketch {
  const plain = {
    does: 'succeed',
    turns: 0,
    ignoreResult: false,
    immutable: false,
    onSuccess: [],
    onError: [],
  } as const;
  return { kind: 'task', label, ...plain, ...more };
}

export const chainOf = (...steps: readonly Sketch[]): ChainSketch => ({ kind: 'chain', steps });
export const groupOf = (...members: readonly Sketch[]): GroupSketch => ({ kind: 'group', members });
export const chordOf = (members: readonly Sketch[], callback: Sketch): ChordSketch => ({
  kind: 'chord',
  members,
  callback,
});

/** What a workflow directly consists of. */
export function partsOf(sketch: Sketch): readonly Sketch[] {
  if (sketch.kind === 'task') return [];
  if (sketch.kind === 'chain') return sketch.steps;
  return sketch.kind === 'group' ? sketch.members : [...sketch.members, sketch.callback];
}

/** The tasks of the workflow itself, in the order of `result.tasks`. */
export function tasksOf(sketch: Sketch): TaskSketch[] {
  return sketch.kind === 'task' ? [sketch] : partsOf(sketch).flatMap(tasksOf);
}

/** All tasks, success and error callbacks too. */
export function allTasksOf(sketch: Sketch): TaskSketch[] {
  const withCallbacks = (one: TaskSketch): TaskSketch[] => [
    one,
    ...[...one.onSuccess, ...one.onError].flatMap(withCallbacks),
  ];
  return tasksOf(sketch).flatMap(withCallbacks);
}

/** The same workflow, with labels: `a`, `b` … */
export function labelled<S extends Sketch>(sketch: S): S {
  const copy = structuredClone(sketch);
  allTasksOf(copy).forEach((one, i) => {
    one.label = labelOf(i);
  });
  return copy;
}

function labelOf(place: number): string {
  return (place < 26 ? '' : labelOf(Math.floor(place / 26) - 1)) + String.fromCharCode(97 + (place % 26));
}

/** The workflow as it would be written in code. */
export function codeOf(sketch: Sketch): string {
  switch (sketch.kind) {
    case 'task':
      return codeOfTask(sketch);
    case 'chain':
      return `chain(${sketch.steps.map(codeOf).join(', ')})`;
    case 'group':
      return `group([${sketch.members.map(codeOf).join(', ')}])`;
    case 'chord':
      return `chord([${sketch.members.map(codeOf).join(', ')}], ${codeOf(sketch.callback)})`;
  }
}

function codeOfTask({ label, does, turns, ignoreResult, immutable, onSuccess, onError }: TaskSketch): string {
  const list = (tasks: readonly TaskSketch[]) => tasks.map(codeOfTask).join(', ');
  return [
    label,
    does === 'fail' ? '.fails' : does === 'fail once' ? '.failsOnce' : '',
    turns > 0 ? `.turns(${turns})` : '',
    ignoreResult ? '.ignoreResult' : '',
    immutable ? '.immutable' : '',
    onSuccess.length > 0 ? `.onSuccess(${list(onSuccess)})` : '',
    onError.length > 0 ? `.onError(${list(onError)})` : '',
  ].join('');
}

/** What a task of this label answers. */
export function resultOf(label: string, args: readonly string[]): string {
  const own = args.indexOf(label);
  return `${label}(${args.filter((_, i) => i !== own).join(',')})`;
}

/** The text of what a task throws that fails. */
export const thrownBy = (label: string): string => `${label} failed`;
