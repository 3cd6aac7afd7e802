// Makes the results that `send` answers: handles on stored states that know how their values are declared.

import { AsyncResult } from './async-result.ts';
import type { Engine } from './engine.ts';
import { errorText, MachineryError } from './errors.ts';
import type { Plan, Planned } from './plan.ts';
import type { ReturnsSpec } from './task.ts';
import type { TaskResult, TaskState } from './task-state.ts';
import { decodeResults } from './task-values.ts';
import { fromWireValue } from './wire/argument-types.ts';
import { ChainResult, ChordResult, GroupResult, type StepResult, type WorkflowResult } from './workflow-result.ts';

/** How a task's results are declared; undefined: not at all, they come as they are. */
export type Declared = { readonly returns: ReturnsSpec } | undefined;

/** @param sentHere the state was written before, so when it is missing it has expired. */
export function taskResult(
  { results: waiter }: Engine,
  uuid: string,
  declared: Declared,
  sentHere: boolean,
): AsyncResult<unknown> {
  const decode = ({ results = [], taskName }: TaskState) => {
    try {
      return declared === undefined ? decodeUntyped(results) : decodeResults(declared.returns, results);
    } catch (cause) {
      const text = `The result of task ${taskName} (${uuid}): ${errorText(cause)}`;
      throw new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', text, { cause });
    }
  };
  return new AsyncResult(uuid, waiter, decode, sentHere);
}

/** The result of a workflow that was sent just now. */
export function workflowResult(engine: Engine, { root, entries }: Plan): WorkflowResult {
  const sent = new Set(entries.map(({ uuid }) => uuid));
  const resultOf = (step: Planned): StepResult => {
    if (step.kind === 'task') {
      const { uuid } = step.signature;
      return taskResult(engine, uuid, step.definition, sent.has(uuid));
    }
    if (step.kind === 'chain') return new ChainResult(step.steps.map(resultOf));
    if (step.kind === 'group') return new GroupResult(step.groupUuid, step.members.map(resultOf));
    return new ChordResult(resultOf(step.group) as GroupResult, resultOf(step.callback));
  };
  return resultOf(root) as WorkflowResult;
}

function decodeUntyped(results: readonly TaskResult[]): unknown {
  const values = results.map(({ type, value }) => fromWireValue(type, value));
  return values.length > 1 ? values : values[0];
}
