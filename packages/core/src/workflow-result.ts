// The results of chains, groups and chords: compositions of the results of their tasks, which share one batched read.

import type { AsyncResult, GetOptions } from './async-result.ts';
import { sharedAbortController, sleep } from './backoff.ts';
import { MachineryError } from './errors.ts';
import { abortSignal, checkOptions, optional, timerMs } from './options.ts';
import { isFinal, type TaskState } from './task-state.ts';

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

/** How long after the first look at all tasks the next one comes, in milliseconds; later ones take longer and longer. */
const firstSweepMs = 500;
const maxSweepMs = 30_000;
/** For how long nothing may be on its way before what is missing has expired: a dead worker's message takes a while to come again. */
const maxIdleMs = 60_000;
/** How long a wait whose time is up may look for a failure, in milliseconds. */
const lastLookMs = 50;

/** Makes the results of parts when they are first asked for: most chords are never asked for those of their members. */
type Parts<P> = () => readonly P[];

abstract class Composed<T, P extends StepResult> implements WorkflowResult<T> {
  readonly #make: Parts<P>;
  #made: readonly P[] | undefined;

  /** @internal */
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

  get(options: GetOptions = {}): Promise<T> {
    return this.together(options, async (each) => {
      try {
        return await Promise.race([this.wait(each), this.#sweep(each.signal)]);
      } catch (error) {
        // What was to come after a failed task may have been seen first, and says less.
        if (MachineryError.is(error, 'ERR_MACHINERY_TASK_FAILED')) await this.#throwFirstFailure();
        if (MachineryError.is(error, 'ERR_MACHINERY_RESULT_TIMEOUT'))
          await Promise.race([this.#throwFirstFailure(), sleep(lastLookMs)]);
        throw error;
      }
    });
  }

  async progress(): Promise<Progress> {
    const states = await Promise.all(this.tasks.map((task) => task.state()));
    const failed = states.filter((state) => state?.state === 'FAILURE').length;
    const succeeded = states.filter((state) => state?.state === 'SUCCESS').length;
    return { total: states.length, done: succeeded + failed, failed };
  }

  /** @internal Waits for the parts that decide. What it misses, `get` finds by looking at all tasks from time to time. */
  abstract wait(each: GetOptions): Promise<T>;

  /** Waits for many with one signal, which fires when the outcome is known. */
  protected async together<R>(
    options: GetOptions,
    wait: (each: GetOptions & { readonly signal: AbortSignal }) => Promise<R>,
  ): Promise<R> {
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

  /**
   * Looks at all tasks from time to time: a Go worker does not tell a callback that a member has failed, and states expire.
   * Rejects with what it finds, and is pending otherwise.
   */
  async #sweep(signal: AbortSignal): Promise<never> {
    const { tasks } = this;
    let idleSince: number | undefined;
    for (let pauseMs = firstSweepMs; ; pauseMs = Math.min(maxSweepMs, pauseMs * 1.5)) {
      await sleep(pauseMs, signal);
      if (signal.aborted) return new Promise(() => {});
      const states = await this.#states();
      if (states === undefined || tasks.length === 0) continue;
      if (states.some((state) => state?.state === 'FAILURE')) await this.#throwFirstFailure();
      if (tasks[0]?.readConsumes) continue; // what is missing may have been read elsewhere
      if (states.every((state) => state === undefined)) throw expired();
      if (states.some((state) => state !== undefined && !isFinal(state.state))) idleSince = undefined;
      else idleSince ??= Date.now();
      if (idleSince !== undefined && Date.now() - idleSince > maxIdleMs) throw expired();
    }
  }

  /** Throws the error of the first task, in their order, that is known to have failed. */
  async #throwFirstFailure(): Promise<void> {
    const { tasks } = this;
    const states = await this.#states();
    const failed = tasks[states?.findIndex((state) => state?.state === 'FAILURE') ?? -1];
    if (failed !== undefined) await failed.get({ timeoutMs: 0 });
  }

  /** Undefined: the backend cannot be asked now. */
  #states(): Promise<(TaskState | undefined)[] | undefined> {
    return Promise.all(this.tasks.map((task) => task.state())).catch(() => undefined);
  }
}

/** The result of a chain: that of its last step, or the error of the first that failed. */
export class ChainResult<T = unknown> extends Composed<T, StepResult> {
  /** The results of the steps, in their order. */
  get steps(): readonly StepResult[] {
    return this.parts;
  }

  /** @internal The last step decides; what was before is waited for in turn, as its failure is the end of the chain. */
  async wait(each: GetOptions): Promise<T> {
    const { steps } = this;
    const last = steps.at(-1) as StepResult;
    const deciding = steps.findLast((step) => !(step instanceof Composed) || step.tasks.length > 0) ?? last;
    const failure = new Promise<never>((_, reject) => {
      const inTurn = async () => {
        for (const step of steps) if (step !== deciding) await outcomeOf(step, each);
      };
      inTurn().catch((error) => {
        if (MachineryError.is(error, 'ERR_MACHINERY_TASK_FAILED')) reject(error);
      });
    });
    await Promise.race([outcomeOf(deciding, each), failure]);
    return outcomeOf(last, each) as Promise<T>; // an empty group at the end is done when what was before it is
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

  /** @internal */
  wait(each: GetOptions): Promise<T> {
    return Promise.all(this.members.map((member) => outcomeOf(member, each))) as Promise<T>;
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

  /** @internal */
  wait(each: GetOptions): Promise<T> {
    return outcomeOf(this.callback, each) as Promise<T>;
  }
}

function outcomeOf(step: StepResult, each: GetOptions): Promise<unknown> {
  return step instanceof Composed ? step.wait(each) : step.get(each);
}

function expired(): MachineryError {
  return new MachineryError(
    'ERR_MACHINERY_RESULT_EXPIRED',
    'The states of the workflow are gone: they expired or were purged before it had ended',
  );
}
