// Makes of a sketch the workflow that a program would send. All tasks are one, `step`: it takes its label and values, and
// answers `label(value,value)`, so that a result spells how it came about. The label is an argument like any other, which
// results are appended to and error texts put in front of; who runs the task knows it from the headers.

import {
  type Chain,
  chain,
  chord,
  defineTask,
  group,
  rest,
  type Signature,
  type SignatureOptions,
  string,
  type Workflow,
} from '@machinery/core';
import type { Sketch, TaskSketch, WorkflowSketch } from './sketch.ts';

export const step = defineTask('step', { args: rest(string), returns: string });

/** Headers that tell the handler of `step` what to do. */
export const labelHeader = 'label';
export const doesHeader = 'does';
export const turnsHeader = 'turns';

/** A signature of `step` for some queue. */
export function signatureOf(sketch: TaskSketch, queue: string): Signature {
  const { label, does, turns, ignoreResult, immutable, onSuccess, onError } = sketch;
  const callbacks = (sketches: readonly TaskSketch[]) => sketches.map((one) => signatureOf(one, queue));
  const options = {
    queue,
    headers: { [labelHeader]: label, [doesHeader]: does, [turnsHeader]: String(turns) },
    ...(does === 'fail once' && { retries: 1, backoff: { delayMs: 1 } }),
    ...(ignoreResult && { ignoreResult }),
    ...(immutable && { immutable }),
    ...(onSuccess.length > 0 && { onSuccess: callbacks(onSuccess) }),
    ...(onError.length > 0 && { onError: callbacks(onError) }),
  };
  return step.partial(label).with(options as SignatureOptions);
}

/** As `sendChain` takes it. Whether what is sent is complete is the model's to know, and not the compiler's. */
export type AnyChain = Chain;

type AnyWorkflow = (...parts: unknown[]) => Workflow;

export function workflowOf(sketch: WorkflowSketch, queue: string): Workflow {
  const part = (one: Sketch): unknown => (one.kind === 'task' ? signatureOf(one, queue) : workflowOf(one, queue));
  if (sketch.kind === 'chain') return (chain as AnyWorkflow)(...sketch.steps.map(part));
  if (sketch.kind === 'group') return (group as AnyWorkflow)(sketch.members.map(part));
  return (chord as AnyWorkflow)(sketch.members.map(part), part(sketch.callback));
}
