// Waits for final states on behalf of every `get` of a server: all waiters share one batched read, and a backend that
// pushes makes reading the exception. Each waiter is read again after a fifth of the time it has waited so far.

import type { Backend } from './backend.ts';
import { sleep } from './backoff.ts';
import { Batcher } from './batcher.ts';
import { errorText, MachineryError, mayPass, NotSupportedError } from './errors.ts';
import type { Logger } from './logger.ts';
import { inMicrotask } from './microtask.ts';
import { isFinal, type StateName, type TaskState } from './task-state.ts';

/** Reads of one server are at least this far apart: 2 ms for a lone waiter, 20 ms (50 reads a second) for a hundred or more. */
const readGapMs = (waiters: number): number => Math.min(20, 2 + waiters / 5);
const maxPollMs = 500;
/** How long a wait whose time is up before anything was read may look once, in milliseconds. */
const lastLookMs = 50;
/** With a push, reading only makes up for what was not pushed: a message that was lost, or a task that a Go worker ran. */
const pushedPollMs = 1_000;
/** How long after something was not pushed nobody relies on the push, in milliseconds. */
const distrustMs = 60_000;

interface Waiter {
  readonly taskUuid: string;
  readonly since: number;
  /** Unix milliseconds. */
  readAt: number;
  lastState: StateName | undefined;
  /** Whether a state was there before: when it is gone then, it has expired. */
  seen: boolean;
  readonly resolve: (state: TaskState) => void;
  readonly reject: (error: unknown) => void;
}

export class ResultWaiter {
  readonly #backend: Backend;
  readonly #logger: Logger;
  readonly #reads: Batcher<string, TaskState | undefined>;
  readonly #waiters = new Set<Waiter>();
  readonly #bySignal = new Map<AbortSignal, Set<Waiter>>();
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #notBefore = 0;
  #reading = false;
  #failing = false;
  /** When a read found what had not been pushed, Unix milliseconds. */
  #unpushedAt = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(backend: Backend, logger: Logger) {
    this.#backend = backend;
    this.#logger = logger;
    this.#reads = new Batcher((uuids) => this.#readStates(uuids), { maxItems: backend.capabilities.maxBatch });
  }

  /** Whether reading a state takes it away (AMQP). */
  get readConsumes(): boolean {
    return this.#backend.capabilities.readConsumes === true;
  }

  /** Whether states are stored and may be looked at: whoever waits for one still finds it. */
  get mayRead(): boolean {
    return this.#backend.capabilities.storesResults && !this.readConsumes;
  }

  /** Reads one state, together with whatever else is read in this tick. */
  async read(taskUuid: string): Promise<TaskState | undefined> {
    if (!this.#backend.capabilities.storesResults) throw noResults(this.#backend);
    const state = await this.#reads.add(taskUuid);
    // Where reading takes a state away, nobody else will find it.
    if (state && isFinal(state.state) && this.readConsumes) {
      for (const waiter of this.#waiters) if (waiter.taskUuid === taskUuid) waiter.resolve(state);
    }
    return state;
  }

  /**
   * Resolves with the final state of the task. `sentHere`: the state was written before, so when it is missing it has expired.
   * @throws MachineryError ERR_MACHINERY_RESULT_TIMEOUT, ERR_MACHINERY_RESULT_EXPIRED, ERR_MACHINERY_ABORTED,
   * ERR_MACHINERY_CLOSED, ERR_MACHINERY_NOT_SUPPORTED; a backend that is away for a while is waited out.
   */
  wait(
    taskUuid: string,
    sentHere: boolean,
    options: { timeoutMs?: number | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<TaskState> {
    const { timeoutMs, signal } = options;
    return new Promise((resolve, reject) => {
      if (!this.#backend.capabilities.storesResults) return reject(noResults(this.#backend));
      if (this.#closed) return reject(closed(taskUuid));
      if (signal?.aborted) return reject(aborted(taskUuid, signal));
      let unwatch: (() => void) | undefined;
      let unlisten: (() => void) | undefined;
      const end = () => {
        this.#waiters.delete(waiter);
        if (this.#waiters.size === 0) this.#stopTimer();
        unwatch?.();
        clearTimeout(timeout);
        unlisten?.();
      };
      const waiter: Waiter = {
        taskUuid,
        since: Date.now(),
        readAt: 0,
        lastState: undefined,
        seen: sentHere && !this.readConsumes,
        resolve: (state) => {
          end();
          resolve(state);
        },
        reject: (error) => {
          end();
          reject(error);
        },
      };
      if (signal !== undefined) unlisten = this.#rejectOnAbort(waiter, signal);
      const timeout =
        timeoutMs === undefined ? undefined : setTimeout(() => void this.#timeUp(waiter, timeoutMs), timeoutMs);
      unwatch = this.#backend.watch?.(taskUuid, waiter.resolve);
      this.#waiters.add(waiter);
      this.#readBy(0);
    });
  }

  /** One listener for all that wait with a signal: each that is added is compared with all that are there. */
  #rejectOnAbort(waiter: Waiter, signal: AbortSignal): () => void {
    let waiters = this.#bySignal.get(signal);
    if (waiters === undefined) {
      waiters = new Set();
      this.#bySignal.set(signal, waiters);
      signal.addEventListener('abort', this.#onAbort);
    }
    waiters.add(waiter);
    return () => {
      if (!waiters.delete(waiter) || waiters.size > 0) return;
      this.#bySignal.delete(signal);
      signal.removeEventListener('abort', this.#onAbort);
    };
  }

  readonly #onAbort = ({ target }: Event): void => {
    const signal = target as AbortSignal;
    for (const waiter of this.#bySignal.get(signal) ?? []) waiter.reject(aborted(waiter.taskUuid, signal));
  };

  /** Rejects, but not before the state was looked at once. */
  async #timeUp(waiter: Waiter, timeoutMs: number): Promise<void> {
    const { taskUuid, readAt } = waiter;
    const look = () => Promise.race([this.read(taskUuid).catch(() => undefined), sleep(lastLookMs)]);
    const state = readAt === 0 ? await look() : undefined;
    if (state && isFinal(state.state)) return waiter.resolve(state);
    waiter.lastState = state?.state ?? waiter.lastState;
    const text = `Task ${taskUuid} was not finished within ${timeoutMs} ms: ${soFar(waiter.lastState)}`;
    waiter.reject(new MachineryError('ERR_MACHINERY_RESULT_TIMEOUT', text));
  }

  /** Rejects everybody who waits. */
  close(): void {
    this.#closed = true;
    for (const waiter of this.#waiters) waiter.reject(closed(waiter.taskUuid));
  }

  /** The timer holds the process on purpose: somebody waits for a result. */
  #readBy(wanted: number): void {
    const time = Math.max(wanted, this.#notBefore);
    if (this.#reading || this.#timerAt <= time) return;
    clearTimeout(this.#timer);
    this.#timerAt = time;
    const delayMs = time - Date.now();
    if (delayMs <= 0) inMicrotask(() => this.#readDue());
    else this.#timer = setTimeout(() => void this.#readDue(), delayMs);
  }

  async #readDue(): Promise<void> {
    if (this.#reading || this.#closed) return;
    this.#reading = true;
    const started = Date.now();
    const due = [...this.#waiters].filter(({ readAt }) => readAt <= started);
    const chunks = this.#chunks(due);
    this.#notBefore = started + readGapMs(this.#waiters.size) * Math.max(1, chunks.length);
    await Promise.all(chunks.map((chunk) => this.#readChunk(chunk)));
    this.#reading = false;
    this.#timerAt = Number.POSITIVE_INFINITY;
    if (this.#waiters.size === 0 || this.#closed) return;
    let next = Number.POSITIVE_INFINITY;
    for (const { readAt } of this.#waiters) next = Math.min(next, readAt);
    this.#readBy(next);
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  #chunks(waiters: Waiter[]): Waiter[][] {
    const size = this.#backend.capabilities.maxBatch ?? 1_000;
    return Array.from({ length: Math.ceil(waiters.length / size) }, (_, i) => waiters.slice(i * size, (i + 1) * size));
  }

  /** Asks for each state once, however many want it. */
  async #readStates(taskUuids: readonly string[]): Promise<(TaskState | undefined)[]> {
    const once = new Set(taskUuids);
    if (once.size === taskUuids.length) return this.#backend.read(taskUuids);
    const names = [...once];
    const states = await this.#backend.read(names);
    const found = new Map(names.map((name, i) => [name, states[i]]));
    return taskUuids.map((taskUuid) => found.get(taskUuid));
  }

  async #readChunk(waiters: Waiter[]): Promise<void> {
    try {
      const states = await this.#readStates(waiters.map(({ taskUuid }) => taskUuid));
      if (this.#failing) this.#logger.info(`${this.#backend.name} answers again`);
      this.#failing = false;
      for (let i = 0; i < waiters.length; i++) this.#found(waiters[i] as Waiter, states[i]);
    } catch (error) {
      const final = !mayPass(error);
      if (!this.#failing && !final)
        this.#logger.warn(`${this.#backend.name} cannot be read, waiting goes on: ${errorText(error)}`, error);
      this.#failing = !final;
      for (const waiter of waiters) {
        if (final) waiter.reject(error);
        else waiter.readAt = Date.now() + maxPollMs;
      }
    }
  }

  #reliesOnPush(): boolean {
    return this.#backend.watch !== undefined && Date.now() - this.#unpushedAt > distrustMs;
  }

  #found(waiter: Waiter, state: TaskState | undefined): void {
    const waitedMs = Date.now() - waiter.since;
    if (state !== undefined && isFinal(state.state)) {
      if (waiter.readAt > 0) this.#unpushedAt = Date.now(); // not by its first read
      waiter.resolve(state);
    } else if (state === undefined && waiter.seen) waiter.reject(expired(waiter.taskUuid));
    else {
      waiter.lastState = state?.state;
      waiter.seen ||= state !== undefined && !this.readConsumes;
      waiter.readAt = Date.now() + (this.#reliesOnPush() ? pushedPollMs : Math.min(maxPollMs, waitedMs / 5));
    }
  }
}

function noResults({ name }: Backend): NotSupportedError {
  return new NotSupportedError(name, 'results: it stores none');
}

function expired(taskUuid: string): MachineryError {
  const text = `The state of task ${taskUuid} is gone: it expired or was purged before it was read`;
  return new MachineryError('ERR_MACHINERY_RESULT_EXPIRED', text);
}

function soFar(state: StateName | undefined): string {
  if (state === undefined) return 'no state of it has been seen';
  return state === 'PENDING'
    ? 'it is PENDING, is a worker started for its queue, and has it a handler?'
    : `it is ${state}`;
}

function closed(taskUuid: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', `The server was closed while waiting for task ${taskUuid}`);
}

function aborted(taskUuid: string, signal: AbortSignal): MachineryError {
  return new MachineryError('ERR_MACHINERY_ABORTED', `Waiting for task ${taskUuid} was aborted`, {
    cause: signal.reason,
  });
}
