// A result backend inside this process. Workers write states, `AsyncResult` reads and watches them, and chords will
// claim groups here. Every step is synchronous, which is what makes the claims atomic.
// Invariant: what is stored shares no mutable part with what callers hold, and is never changed, only replaced.

import type { Backend, BackendCapabilities, ChordClaim, StateWrite } from '../backend.ts';
import { type Clock, clockCheck, systemClock } from '../clock.ts';
import { type ContractVersion, contractVersion } from '../contract-version.ts';
import { errorText, MachineryError } from '../errors.ts';
import { consoleLogger, type Logger } from '../logger.ts';
import { checkOptions, integer, optional } from '../options.ts';
import { failed, type Outcome, stored } from '../outcome.ts';
import { type GroupMeta, isFinal, mergeState, type TaskState } from '../task-state.ts';
import { encodeState } from '../wire/state-codec.ts';
import { ExpiringMap } from './expiring-map.ts';

/** Limits of a memory backend. */
export interface MemoryBackendOptions {
  /** The largest state, in bytes of its encoded JSON. Absent: unlimited, and states are never encoded. */
  readonly maxStateBytes?: number;
  /** For tests. Default: the system's. */
  readonly clock?: Clock;
}

/** @inline */
type Listener = (state: TaskState) => void;

interface Group {
  readonly meta: GroupMeta;
  readonly claimedBy?: string;
}

/** A result backend in memory, for tests, development and programs of one process. Several servers may share one. */
export class MemoryBackend implements Backend {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/core/memory MemoryBackend';
  readonly capabilities: BackendCapabilities;

  readonly #maxStateBytes: number | undefined;
  readonly #clock: Clock;
  readonly #states: ExpiringMap<TaskState>;
  readonly #groups: ExpiringMap<Group>;
  readonly #listeners = new Map<string, Set<Listener>>();
  #logger: Logger = consoleLogger;
  #closed = false;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: MemoryBackendOptions = {}) {
    checkOptions('MemoryBackend', options, {
      maxStateBytes: optional(integer({ min: 1 })),
      clock: optional(clockCheck),
    });
    const { maxStateBytes, clock = systemClock } = options;
    this.#clock = clock;
    this.#states = new ExpiringMap(clock);
    this.#groups = new ExpiringMap(clock);
    this.#maxStateBytes = maxStateBytes;
    this.capabilities = Object.freeze({
      storesResults: true,
      push: true,
      ...(maxStateBytes !== undefined && { maxStateBytes }),
    });
  }

  attach({ logger }: { readonly logger: Logger }): void {
    this.#logger = logger;
  }

  /**
   * Stores the states before it returns. A state is `failed`, not retryable, with ERR_MACHINERY_STATE_TOO_LARGE (or
   * ERR_MACHINERY_BACKEND_FAILED where it cannot be encoded to measure it), or with ERR_MACHINERY_CLOSED after `close`.
   */
  write(writes: readonly StateWrite[]): Promise<Outcome[]> {
    const now = this.#clock.now();
    const outcomes: Outcome[] = [];
    for (const { state, expiresInSeconds } of writes) outcomes.push(this.#store(state, now, expiresInSeconds));
    return Promise.resolve(outcomes);
  }

  /** @throws MachineryError ERR_MACHINERY_CLOSED, as do all calls below after `close`. */
  async read(taskUuids: readonly string[]): Promise<(TaskState | undefined)[]> {
    this.#checkOpen();
    const now = this.#clock.now();
    return taskUuids.map((uuid) => {
      const state = this.#states.get(uuid, now)?.value;
      return state && detached(state);
    });
  }

  async purge({
    tasks = [],
    groups = [],
  }: {
    readonly tasks?: readonly string[];
    readonly groups?: readonly string[];
  }): Promise<void> {
    this.#checkOpen();
    for (const uuid of tasks) this.#states.delete(uuid);
    for (const uuid of groups) this.#groups.delete(uuid);
  }

  async initGroup(meta: GroupMeta, expiresInSeconds: number): Promise<void> {
    this.#checkOpen();
    const taskUuids = Object.freeze([...meta.taskUuids]);
    const group = { meta: Object.freeze({ ...meta, taskUuids }) };
    this.#groups.set(meta.groupUuid, group, this.#clock.now() + expiresInSeconds * 1_000);
  }

  async readGroup(groupUuid: string): Promise<GroupMeta | undefined> {
    this.#checkOpen();
    return this.#groups.get(groupUuid, this.#clock.now())?.value.meta;
  }

  /** Never shortens what is left: members of a group may count from different ETAs. A group that is gone stays gone. */
  async renewGroup(groupUuid: string, expiresInSeconds: number): Promise<void> {
    this.#checkOpen();
    const now = this.#clock.now();
    const entry = this.#groups.get(groupUuid, now);
    if (entry !== undefined) entry.expiresAtMs = Math.max(entry.expiresAtMs, now + expiresInSeconds * 1_000);
  }

  /**
   * @throws MachineryError ERR_MACHINERY_GROUP_EXPIRED when the group is not there (never was, purged or expired):
   * nobody can tell any more whether the callback was sent.
   */
  async claimChord(groupUuid: string, claimant: string): Promise<ChordClaim> {
    this.#checkOpen();
    const entry = this.#groups.get(groupUuid, this.#clock.now());
    if (entry === undefined) {
      throw new MachineryError(
        'ERR_MACHINERY_GROUP_EXPIRED',
        `Group ${groupUuid} is not there or has expired, so task ${claimant} cannot claim its chord`,
      );
    }
    const { meta, claimedBy = claimant } = entry.value;
    if (meta.chordTriggered) return 'done';
    if (claimedBy !== claimant) return 'other';
    entry.value = { meta, claimedBy };
    return 'claimed';
  }

  /** A group that is gone is no error: there is nobody left to tell. */
  async finishChord(groupUuid: string): Promise<void> {
    this.#checkOpen();
    const entry = this.#groups.get(groupUuid, this.#clock.now());
    if (entry === undefined) return;
    entry.value = { ...entry.value, meta: Object.freeze({ ...entry.value.meta, chordTriggered: true }) };
  }

  watch(taskUuid: string, listener: Listener): () => void {
    let listeners = this.#listeners.get(taskUuid);
    if (listeners === undefined) {
      listeners = new Set();
      this.#listeners.set(taskUuid, listeners);
    }
    // A function of its own for each call, so that the same listener can watch twice and each is stopped by itself.
    const call: Listener = (state) => listener(state);
    listeners.add(call);
    return () => {
      listeners.delete(call);
      if (listeners.size === 0 && this.#listeners.get(taskUuid) === listeners) this.#listeners.delete(taskUuid);
    };
  }

  /** Forgets everything. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#states.clear();
    this.#groups.clear();
    this.#listeners.clear();
  }

  #store(incoming: TaskState, now: number, expiresInSeconds: number): Outcome {
    if (this.#closed) return failed(closedError(), false);
    const entry = this.#states.get(incoming.taskUuid, now);
    let state = mergeState(entry?.value, incoming);
    if (state === entry?.value && state !== incoming) return stored;
    if (this.#maxStateBytes !== undefined) {
      const error = tooLarge(state, this.#maxStateBytes);
      if (error !== undefined) return failed(error, false);
    }
    state = detached(state);
    const expiresAtMs = now + expiresInSeconds * 1_000;
    if (entry === undefined) this.#states.set(state.taskUuid, state, expiresAtMs);
    else {
      entry.value = state;
      entry.expiresAtMs = expiresAtMs;
    }
    if (this.#listeners.size > 0 && isFinal(state.state)) this.#notify(state);
    return stored;
  }

  #notify(state: TaskState): void {
    const listeners = this.#listeners.get(state.taskUuid);
    if (listeners === undefined) return;
    this.#listeners.delete(state.taskUuid);
    for (const listener of listeners) {
      try {
        listener(detached(state));
      } catch (error) {
        this.#logger.error(`A watcher of task ${state.taskUuid} threw: ${errorText(error)}`, { error });
      }
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw closedError();
  }
}

/** The error of a state that is larger than `maxBytes`, or that cannot be encoded at all. */
function tooLarge(state: TaskState, maxBytes: number): Error | undefined {
  const what = `The ${state.state} state of task ${state.taskName} (${state.taskUuid})`;
  try {
    const bytes = Buffer.byteLength(encodeState(state));
    if (bytes <= maxBytes) return undefined;
    const text = `${what} has ${bytes} bytes, the backend takes at most ${maxBytes}`;
    return new MachineryError('ERR_MACHINERY_STATE_TOO_LARGE', text);
  } catch (cause) {
    const text = `${what} cannot be encoded: ${errorText(cause)}`;
    return new MachineryError('ERR_MACHINERY_BACKEND_FAILED', text, { cause });
  }
}

/** The state without arrays that someone else may change: slices are the only mutable values that a state has. */
function detached(state: TaskState): TaskState {
  const { results } = state;
  if (results === undefined || !results.some(({ value }) => Array.isArray(value))) return state;
  return {
    ...state,
    results: results.map(({ type, value }) => ({ type, value: Array.isArray(value) ? [...value] : value })),
  };
}

function closedError(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The memory backend is closed');
}
