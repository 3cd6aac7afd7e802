// The results of chains, groups and chords: compositions of the results of their tasks, which share one batched read.

import type { AsyncResult, GetOptions } from './async-result.ts';
import { sharedAbortController, sleep } from './backoff.ts';
import { MachineryError } from './errors.ts';
import { abortSignal, checkOptions, optional, timerMs } from './options.ts';

/** How many of the tasks have ended. Tasks that will never run, because one before them failed, never do. */
export interface Progress {
  readonly total: number;
  /** Have succeeded or failed. */
  readonly done: number;
  readonly failed: number;
}

/** What all results of workflows can do. */
export interface WorkflowResult<T = unknown> {
  /** The results of all tasks, in their order, callbacks last. */
  readonly tasks: readonly AsyncResult[];
  /**
   * Waits for the result.
   * @throws TaskFailedError of the first task that failed, with its name and UUID; MachineryError
   * ERR_MACHINERY_RESULT_TIMEOUT, ERR_MACHINERY_RESULT_EXPIRED, ERR_MACHINERY_ABORTED, ERR_MACHINERY_CLOSED.
   */
  get(options?: GetOptions): Promise<T>;
  /** Looks once, without waiting, how many tasks are done. */
  progress(): Promise<Progress>;
}

/** The result of any step of a workflow. */
export type StepResult = AsyncResult | WorkflowResult;

/** What became of each member. */
export type Settled<T> = { -readonly [I in keyof T]: PromiseSettledResult<T[I]> };

/** How many members are waited for at a time, when a chord's callback is silent. */
const membersAtOnce = 100;
/** How long a chord's callback may be silent before its members are looked at, in milliseconds. */
const callbackFirstMs = 500;

/** Makes the results of parts when they are first asked for: most chords are never asked for those of their members. */
type Parts<P> = () => readonly P[];

abstract class Composed<T, P extends StepResult> implements WorkflowResult<T> {
  readonly #make: Parts<P>;
  #made: readonly P[] | undefined;

  constructor(make: Parts<P>) {
    this.#make = make;
  }

  protected get parts(): readonly P[] {
    this.#made ??= this.#make();
    return this.#made;
  }

  get tasks(): readonly AsyncResult[] {
    return this.parts.flatMap((part) => (part instanceof Composed ? part.tasks : [part as AsyncResult]));
  }

  protected abstract wait(options: GetOptions): Promise<T>;

  get(options: GetOptions = {}): Promise<T> {
    return this.together(options, (each) => this.wait(each));
  }

  /** Waits for many with one signal, which fires when the outcome is known. */
  protected async together<R>(options: GetOptions, wait: (each: GetOptions) => Promise<R>): Promise<R> {
    checkOptions('get', options, { timeoutMs: optional(timerMs({ min: 0 })), signal: optional(abortSignal) });
    const { signal } = options;
    const over = sharedAbortController();
    const abort = () => over.abort(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort);
    try {
      return await wait({ ...options, signal: over.signal });
    } finally {
      signal?.removeEventListener('abort', abort);
      over.abort();
    }
  }

  async progress(): Promise<Progress> {
    const states = await Promise.all(this.tasks.map((task) => task.state()));
    const failed = states.filter((state) => state?.state === 'FAILURE').length;
    const succeeded = states.filter((state) => state?.state === 'SUCCESS').length;
    return { total: states.length, done: succeeded + failed, failed };
  }
}

/** The result of a chain: that of its last step, or the error of the first that failed. */
export class ChainResult<T = unknown> extends Composed<T, StepResult> {
  /** The results of the steps, in their order. */
  get steps(): readonly StepResult[] {
    return this.parts;
  }

  /** The last step decides; what was before is waited for in turn, as its failure is the end of the chain. */
  protected wait(options: GetOptions): Promise<T> {
    const last = (this.steps.at(-1) as StepResult).get(options) as Promise<T>;
    const failure = neverUnlessFailed(async () => {
      for (const step of this.steps.slice(0, -1)) await passed(step, options);
    });
    return Promise.race([last, failure]);
  }
}

/** The results of a group's members. */
export class GroupResult<T = unknown> extends Composed<T, StepResult> {
  readonly groupUuid: string;

  /** @internal */
  constructor(groupUuid: string, members: Parts<StepResult>) {
    super(members);
    this.groupUuid = groupUuid;
  }

  /** The results of the members, in their order. */
  get members(): readonly StepResult[] {
    return this.parts;
  }

  /** Waits until each member has succeeded or failed, and answers what became of each, in their order. */
  async settled(options: GetOptions = {}): Promise<Settled<T>> {
    const results = await this.together(options, (each) =>
      Promise.allSettled(this.members.map((member) => member.get(each))),
    );
    for (const result of results)
      if (result.status === 'rejected' && !MachineryError.is(result.reason, 'ERR_MACHINERY_TASK_FAILED'))
        throw result.reason;
    return results as Settled<T>;
  }

  protected wait(options: GetOptions): Promise<T> {
    return Promise.all(this.members.map((member) => member.get(options))) as Promise<T>;
  }
}

/** The result of a chord: that of its callback, or the error of the first member that failed. */
export class ChordResult<T = unknown> extends Composed<T, StepResult> {
  readonly group: GroupResult;
  readonly callback: StepResult;

  /** @internal */
  constructor(group: GroupResult, callback: StepResult) {
    super(() => [group, callback]);
    this.group = group;
    this.callback = callback;
  }

  protected wait(options: GetOptions): Promise<T> {
    const callback = (this.callback.get(options) as Promise<T>).catch(async (error) => {
      // The callback did not run because a member failed: that one's error says more.
      if (MachineryError.is(error, 'ERR_MACHINERY_TASK_FAILED')) await this.#throwFailed();
      throw error;
    });
    const failure = neverUnlessFailed(async () => {
      await sleep(callbackFirstMs, options.signal);
      await this.#watchMembers(options);
    });
    return Promise.race([callback, failure]);
  }

  /** Throws the error of the first member that is known to have failed. */
  async #throwFailed(): Promise<void> {
    const { tasks } = this.group;
    const states = await Promise.all(tasks.map((task) => task.state().catch(() => undefined)));
    const failed = tasks[states.findIndex((state) => state?.state === 'FAILURE')];
    if (failed !== undefined) await failed.get({ timeoutMs: 0 });
  }

  /** Go workers do not tell the callback that a member has failed. */
  async #watchMembers(options: GetOptions): Promise<void> {
    const { members } = this.group;
    for (let i = 0; i < members.length && !options.signal?.aborted; i += membersAtOnce)
      await Promise.all(members.slice(i, i + membersAtOnce).map((member) => passed(member, options)));
  }
}

/** Resolves when the step has succeeded, or when nobody can tell any more. */
async function passed(step: StepResult, options: GetOptions): Promise<void> {
  try {
    await step.get(options);
  } catch (error) {
    if (!MachineryError.is(error, 'ERR_MACHINERY_RESULT_EXPIRED')) throw error;
  }
}

/** Rejects when `wait` rejects because a task failed, and is pending for ever otherwise. */
function neverUnlessFailed(wait: () => Promise<void>): Promise<never> {
  return new Promise((_, reject) => {
    wait().catch((error) => {
      if (MachineryError.is(error, 'ERR_MACHINERY_TASK_FAILED')) reject(error);
    });
  });
}
