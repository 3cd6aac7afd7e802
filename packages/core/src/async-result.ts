// What `send` answers: a handle on the task's stored state. It holds no state of its own but the first final one it saw.

import { TaskFailedError } from './errors.ts';
import { abortSignal, checkOptions, optional, timerMs } from './options.ts';
import type { ResultWaiter } from './result-waiter.ts';
import type { TaskState } from './task-state.ts';

export interface GetOptions {
  /** Reject with `ERR_MACHINERY_RESULT_TIMEOUT` after this many milliseconds. Default: wait without limit. */
  readonly timeoutMs?: number;
  /** Stop waiting, with `ERR_MACHINERY_ABORTED`. The task goes on. */
  readonly signal?: AbortSignal;
}

/** The result of a task that was sent, perhaps by another process. `T` is the value, a tuple of values, or undefined. */
export class AsyncResult<T = unknown> {
  /** The UUID under which the state is stored. */
  readonly uuid: string;
  readonly #waiter: ResultWaiter;
  readonly #decode: (state: TaskState) => T;
  readonly #sentHere: boolean;
  #final: TaskState | undefined;

  /** @internal */
  constructor(uuid: string, waiter: ResultWaiter, decode: (state: TaskState) => T, sentHere: boolean) {
    this.uuid = uuid;
    this.#waiter = waiter;
    this.#decode = decode;
    this.#sentHere = sentHere;
  }

  /**
   * Waits for the task and answers what it returned.
   * @throws TaskFailedError when it failed; MachineryError ERR_MACHINERY_RESULT_TIMEOUT, ERR_MACHINERY_RESULT_EXPIRED
   * (the state was there and is gone), ERR_MACHINERY_ABORTED, ERR_MACHINERY_CLOSED.
   */
  async get(options: GetOptions = {}): Promise<T> {
    checkOptions('get', options, {
      timeoutMs: optional(timerMs({ min: 0 })),
      signal: optional(abortSignal),
    });
    this.#final ??= await this.#waiter.wait(this.uuid, this.#sentHere, options);
    return this.#valueOf(this.#final);
  }

  /**
   * Looks once, without waiting: whether the task is done, and its value.
   * @throws TaskFailedError when it failed.
   */
  async touch(): Promise<{ readonly done: false } | { readonly done: true; readonly value: T }> {
    const state = await this.state();
    return state?.state === 'SUCCESS' || state?.state === 'FAILURE'
      ? { done: true, value: this.#valueOf(state) }
      : { done: false };
  }

  /** @internal Whether looking at the state takes it away. */
  get readConsumes(): boolean {
    return this.#waiter.readConsumes;
  }

  /** The stored state as it is now; undefined when there is none. */
  async state(): Promise<TaskState | undefined> {
    if (this.#final !== undefined) return this.#final;
    const state = await this.#waiter.read(this.uuid);
    if (state?.state === 'SUCCESS' || state?.state === 'FAILURE') this.#final = state;
    return state;
  }

  #valueOf(state: TaskState): T {
    if (state.state === 'FAILURE')
      throw new TaskFailedError({ name: state.taskName, uuid: this.uuid, error: state.error ?? '' });
    return this.#decode(state);
  }
}
