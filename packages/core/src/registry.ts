// The tasks that a server can run, by name. A declared task is decoded and encoded by its declaration, a plain function
// by the types that its arguments travel with and the values that it returns.

import { MachineryError } from './errors.ts';
import { invalidOption, show } from './options.ts';
import type { Backoff, BackoffFunction } from './retry.ts';
import type { Arg } from './signature.ts';
import type { TaskDefinition } from './task.ts';
import type { TaskContext } from './task-context.ts';
import type { TaskResult } from './task-state.ts';
import { decodeArgs, encodeResults } from './task-values.ts';
import { fromWireValue, inferWireType, toWireValue } from './wire/argument-types.ts';

/** What a worker may set for a task that it runs; it goes before what the signature says. */
export interface HandlerOptions {
  /** How long a failed attempt waits: a Backoff, or a function of the attempt and the error. */
  readonly backoff?: Backoff | BackoffFunction;
  /** An attempt that takes longer fails, in milliseconds. */
  readonly timeoutMs?: number;
}

/** A function registered by name alone. It gets the arguments; `currentTask()` gives the context. */
// biome-ignore lint/suspicious/noExplicitAny: the arguments are whatever the sender sends
export type PlainTask = (...args: any[]) => unknown;

/** A task as the worker runs it. */
export interface RegisteredTask extends HandlerOptions {
  readonly name: string;
  decodeArgs(args: readonly Arg[]): unknown[];
  run(context: TaskContext, args: unknown[]): unknown;
  encodeResults(returned: unknown): TaskResult[];
}

export class Registry {
  readonly #tasks = new Map<string, RegisteredTask>();

  /** Refuses a second task of the same name. */
  add(task: RegisteredTask): void {
    this.addAll([task]);
  }

  /** All of them, or none when one is refused. */
  addAll(tasks: readonly RegisteredTask[]): void {
    for (const task of tasks) this.#refuseTwice(task.name);
    for (const task of tasks) this.#tasks.set(task.name, task);
  }

  get(name: string): RegisteredTask | undefined {
    return this.#tasks.get(name);
  }

  names(): string[] {
    return [...this.#tasks.keys()];
  }

  #refuseTwice(name: string): void {
    if (this.#tasks.has(name))
      throw new MachineryError('ERR_MACHINERY_TASK_ALREADY_REGISTERED', `Task ${name} is registered already`);
  }
}

/** A declared task and its handler. */
export function declaredTask(
  definition: TaskDefinition,
  handler: (context: TaskContext, ...args: never[]) => unknown,
  options: HandlerOptions,
): RegisteredTask {
  return {
    ...options,
    name: definition.name,
    decodeArgs: (args) => decodeArgs(definition.args, args),
    run: (context, args) => handler(context, ...(args as never[])),
    encodeResults: (returned) => encodeResults(definition.returns, returned),
  };
}

/** A function without declared types. */
export function plainTask(name: string, fn: PlainTask): RegisteredTask {
  if (typeof name !== 'string' || name === '')
    throw invalidOption(`Expected a task's name to be a string that is not empty, got ${show(name)}`);
  if (typeof fn !== 'function') throw invalidOption(`Expected task ${name} to be a function, got ${show(fn)}`);
  return {
    name,
    decodeArgs: (args) => args.map(({ type, value }) => fromWireValue(type, value)),
    run: (_context, args) => fn(...args),
    encodeResults(returned) {
      if (returned === undefined) return [];
      const type = inferWireType(returned);
      return [{ type, value: toWireValue(type, returned) }];
    },
  };
}
