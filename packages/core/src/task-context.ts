// What a running task sees of its attempt. Also reachable without a parameter, through `currentTask()`: a plain function
// gets only its arguments, and what a task leaves behind (a rejected promise) can be told apart by it.

import { AsyncLocalStorage } from 'node:async_hooks';
import type { MachineryError } from './errors.ts';
import { eachLevel, type Logger } from './logger.ts';
import type { Signature } from './signature.ts';

/** One attempt of a task. */
export class TaskContext {
  readonly signature: Signature;
  /** 1 for the first attempt. Attempts on Go workers are not counted. */
  readonly attempt: number;
  readonly #logger: Logger;
  #controller: AbortController | undefined;
  #abortReason: unknown;
  #aborted = false;

  /** @internal */
  constructor(signature: Signature, attempt: number, logger: Logger) {
    this.signature = signature;
    this.attempt = attempt;
    this.#logger = logger;
  }

  /** Fires when the attempt's result is no longer wanted: its time is up, or the worker is told to stop at once. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  /** The server's logger, with the task in front of each text. */
  get logger(): Logger {
    const prefix = `[${this.signature.name} ${this.signature.uuid}]`;
    const logger = this.#logger;
    return eachLevel(
      (level) =>
        (message, ...details) =>
          logger[level](`${prefix} ${message}`, ...details),
    );
  }

  /** @internal Fires `signal`. Made only when somebody looks: an AbortController costs more than a small task. */
  abort(reason: MachineryError): void {
    this.#aborted = true;
    this.#abortReason = reason;
    this.#controller?.abort(reason);
  }
}

/** An attempt as the process-wide handlers below know it. */
export interface RunningAttempt {
  readonly context: TaskContext;
  /** Fails the attempt if it is not over; answers whether it was not. */
  failWith(reason: unknown): boolean;
}

const running = new AsyncLocalStorage<RunningAttempt | undefined>();

/** Runs `fn` as part of an attempt: everything that it starts knows the attempt. */
export function runAttempt<Args extends unknown[]>(
  attempt: RunningAttempt,
  fn: (...args: Args) => void,
  ...args: Args
): void {
  running.run(attempt, fn, ...args);
}

/**
 * Calls `fn` as part of no attempt: what goes on after a task is not the task's. Not with `exit`, which stops the hooks of
 * Node 20 meanwhile, so that promises which were made before go on in the attempt.
 */
export function leaveAttempt(fn: () => void): void {
  running.run(undefined, fn);
}

/** The attempt that the calling code belongs to; undefined outside of tasks. */
export function currentTask(): TaskContext | undefined {
  return running.getStore()?.context;
}

let guards = 0;

/**
 * While a worker runs, what a task leaves rejected or throws from a timer is that task's failure and not the end of the
 * process. What does not come from a task goes the way it would go without this. Answers the function that ends it.
 */
export function guardProcess(): () => void {
  if (guards++ === 0) process.on('unhandledRejection', onRejection).on('uncaughtException', onException);
  let ended = false;
  return () => {
    if (ended) return;
    ended = true;
    if (--guards === 0) process.off('unhandledRejection', onRejection).off('uncaughtException', onException);
  };
}

function onRejection(reason: unknown): void {
  if (!blameTask(reason, 'left a promise rejected') && process.listenerCount('unhandledRejection') === 1) throw reason;
}

function onException(error: unknown): void {
  if (blameTask(error, 'threw outside of its call') || process.listenerCount('uncaughtException') > 1) return;
  // Nobody else listens: let the process end as it would have.
  process.off('uncaughtException', onException);
  process.nextTick(() => {
    throw error;
  });
}

/** Fails the task that the running code belongs to; false when it belongs to none. */
function blameTask(reason: unknown, what: string): boolean {
  const attempt = running.getStore();
  if (attempt === undefined) return false;
  if (!attempt.failWith(reason)) attempt.context.logger.error(`The task ${what} after it had ended`, reason);
  return true;
}
