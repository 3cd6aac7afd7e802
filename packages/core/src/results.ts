// Makes the results that `send` answers: handles on stored states that know how their values are declared.

import { AsyncResult } from './async-result.ts';
import type { Engine } from './engine.ts';
import { errorText, MachineryError } from './errors.ts';
import type { Planned } from './plan.ts';
import type { ReturnsSpec } from './task.ts';
import type { TaskResult, TaskState } from './task-state.ts';
import { decodeResults } from './task-values.ts';
import { fromWireValue } from './wire/argument-types.ts';
import { ChainResult, ChordResult, GroupResult, type StepResult } from './workflow-result.ts';

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

/** The result of a workflow. `begun`: what it begins with was sent just now. */
export function workflowResult(engine: Engine, step: Planned, begun: boolean): StepResult {
  switch (step.kind) {
    case 'task':
      return taskResult(engine, step.uuid, step.definition, begun);
    case 'chain':
      return new ChainResult(() => step.steps.map((one, i) => workflowResult(engine, one, begun && i === 0)));
    case 'group':
      return new GroupResult(step.groupUuid, () => step.members.map((one) => workflowResult(engine, one, begun)));
    case 'chord': {
      const group = workflowResult(engine, step.group, begun) as GroupResult;
      const callbackBegins = begun && step.group.members.length === 0;
      return new ChordResult(group, workflowResult(engine, step.callback, callbackBegins));
    }
  }
}

function decodeUntyped(results: readonly TaskResult[]): unknown {
  const values = results.map(({ type, value }) => fromWireValue(type, value));
  return values.length > 1 ? values : values[0];
}
