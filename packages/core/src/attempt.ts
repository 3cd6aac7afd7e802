// One attempt of a task in this process: runs the handler once, with its time limit, and knows what to announce. How it
// ended can be corrected until `seal`: a promise that the handler left rejected shows only after it has returned.

import type { StateWrite } from './backend.ts';
import type { Engine } from './engine.ts';
import { errorText, MachineryError } from './errors.ts';
import type { RegisteredTask } from './registry.ts';
import { attemptOf, timeoutOf } from './retry.ts';
import type { Sendable } from './sender.ts';
import { sentAtOf } from './sent-at.ts';
import type { Announced } from './state-writer.ts';
import { leaveAttempt, type RunningAttempt, runAttempt, TaskContext } from './task-context.ts';
import type { StateName, TaskResult, TaskState } from './task-state.ts';
import type { SafeTelemetry } from './telemetry.ts';

/** How an attempt ended. `error` is whatever was thrown. */
export type Ended =
  | { readonly kind: 'success'; readonly results: readonly TaskResult[] }
  /** `final`: another attempt could not end otherwise. */
  | { readonly kind: 'failure'; readonly error: unknown; readonly final?: boolean };

export class Attempt implements Announced, RunningAttempt {
  readonly signature: Sendable;
  readonly context: TaskContext;
  /** When the message says that it was sent, which proves that a state is of the same send. Messages of Go do not say. */
  readonly sentAt: string | undefined;
  /** When the task was sent; for a message of Go, known once its state has been read. */
  createdAt: string | undefined;
  readonly #expiresInSeconds: number;
  readonly #telemetry: SafeTelemetry;
  readonly #startedAt = performance.now();
  #running: StateName = 'RECEIVED';
  #ended: Ended | undefined;
  #onEnd: (() => void) | undefined;
  #sealed = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(signature: Sendable, { logger, sender, telemetry }: Engine) {
    this.signature = signature;
    this.context = new TaskContext(signature, attemptOf(signature), logger);
    this.sentAt = sentAtOf(signature);
    this.createdAt = this.sentAt;
    this.#telemetry = telemetry;
    this.#expiresInSeconds = sender.expiresInSeconds(undefined);
  }

  /** The handler's arguments; undefined when they do not fit, which ends the attempt for good. */
  decodeArgs(task: RegisteredTask): unknown[] | undefined {
    try {
      return task.decodeArgs(this.signature.args ?? []);
    } catch (cause) {
      const error = new MachineryError(
        'ERR_MACHINERY_INVALID_ARGUMENT',
        `Reflect task args error: ${errorText(cause)}`,
        { cause },
      );
      this.#over({ kind: 'failure', error, final: true });
      return undefined;
    }
  }

  /**
   * Calls the handler, and `onEnd`, outside of the attempt's own context, when it has ended or its time is up: perhaps before
   * this returns. Never throws.
   */
  run(task: RegisteredTask, args: unknown[], onEnd: () => void): void {
    this.#running = 'STARTED';
    const timeoutMs = task.timeoutMs ?? timeoutOf(this.signature);
    if (timeoutMs !== undefined) this.#timer = setTimeout(() => this.#timeUp(timeoutMs), timeoutMs);
    runAttempt(this, callHandler, this, task, args);
    if (this.#ended !== undefined) onEnd();
    else this.#onEnd = onEnd;
  }

  /** The same as a promise: how it ended, as far as that is known then. Never rejects. */
  result(task: RegisteredTask, args: unknown[]): Promise<Ended> {
    return new Promise((resolve) => this.run(task, args, () => resolve(this.#ended as Ended)));
  }

  /** @internal What `run` does inside of the attempt. */
  call(task: RegisteredTask, args: unknown[]): void {
    try {
      const returned = task.run(this.context, args);
      if (typeof returned !== 'object' || returned === null) this.#succeed(task, returned);
      else
        Promise.resolve(returned).then(
          (value) => this.#succeed(task, value),
          (error) => this.failWith(error),
        );
    } catch (error) {
      this.failWith(error);
    }
  }

  failWith(error: unknown): boolean {
    if (this.#sealed || this.#ended?.kind === 'failure') return false; // the first failure counts
    this.#over({ kind: 'failure', error });
    return true;
  }

  /** How the attempt ended for good. Call it in the turn after it ended: by then what the handler left rejected was reported. */
  seal(): Ended {
    this.#sealed = true;
    return this.#ended as Ended;
  }

  /** The outcome is no longer wanted: the time is up, or the worker stops at once. */
  abort(reason: MachineryError): void {
    runAttempt(this, () => this.context.abort(reason)); // what a listener throws is the task's
    this.failWith(reason);
  }

  currentState(): StateWrite | undefined {
    return this.#ended === undefined
      ? { state: this.stateOf(this.#running), expiresInSeconds: this.#expiresInSeconds }
      : undefined;
  }

  /** What the task returned; nothing when it failed. */
  get results(): readonly TaskResult[] {
    return this.#ended?.kind === 'success' ? this.#ended.results : [];
  }

  /** The state of an attempt that has succeeded. */
  success(): TaskState {
    return this.stateOf('SUCCESS', { results: this.results });
  }

  /** A state of this attempt. */
  stateOf(state: StateName, more: Partial<TaskState> = {}): TaskState {
    const { signature, createdAt, context } = this;
    return {
      taskUuid: signature.uuid,
      taskName: signature.name,
      state,
      ...(createdAt !== undefined && { createdAt }),
      ...(context.attempt > 1 && { attempt: context.attempt }),
      ...more,
    };
  }

  /** The state of an attempt that has failed. */
  failureOf(
    state: 'FAILURE' | 'RETRY',
    error: string,
    more: Partial<TaskState> = {},
  ): TaskState & { readonly error: string } {
    return { ...this.stateOf(state, more), error };
  }

  #succeed(task: RegisteredTask, returned: unknown): void {
    if (this.#ended !== undefined) return; // its time was up before
    let results: TaskResult[];
    try {
      results = task.encodeResults(returned);
    } catch (cause) {
      const text = `The result of task ${this.signature.name}: ${errorText(cause)}`;
      this.failWith(new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', text, { cause }));
      return;
    }
    this.#over({ kind: 'success', results });
  }

  #timeUp(timeoutMs: number): void {
    const error = new MachineryError(
      'ERR_MACHINERY_TASK_TIMEOUT',
      `Task ${this.signature.name} took longer than ${timeoutMs} ms`,
    );
    this.abort(error);
  }

  #over(ended: Ended): void {
    clearTimeout(this.#timer);
    if (this.#ended === undefined)
      this.#telemetry.record('task.duration', performance.now() - this.#startedAt, this.signature, errorOf(ended));
    const isNews = this.#ended === undefined;
    this.#ended = ended;
    if (isNews && this.#onEnd !== undefined) leaveAttempt(this.#onEnd);
  }
}

function errorOf(ended: Ended): unknown {
  return ended.kind === 'failure' ? ended.error : undefined;
}

/** One function for all attempts. */
function callHandler(attempt: Attempt, task: RegisteredTask, args: unknown[]): void {
  attempt.call(task, args);
}
