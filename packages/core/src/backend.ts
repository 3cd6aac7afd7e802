// The contract of a result backend: states of tasks in batches, and the few atomic steps that a chord needs. Storage
// only; what is written when, coalescing, polling and waiting are core's.

import type { ContractVersion } from './contract-version.ts';
import type { Logger } from './logger.ts';
import type { Outcome } from './outcome.ts';
import type { GroupMeta, TaskState } from './task-state.ts';

/** A state to store. */
export interface StateWrite {
  readonly state: TaskState;
  /** How long to keep it, in seconds from now. */
  readonly expiresInSeconds: number;
  /** With the final state of a chord's member: its group. For backends with `takeGroup`, which store the state there, too. */
  readonly group?: StateGroup;
}

/** The group of a member. */
export interface StateGroup {
  readonly uuid: string;
  /** How many members it has. */
  readonly taskCount: number;
}

/** What a backend can do, and its limits. Absent limits are unlimited. */
export interface BackendCapabilities {
  /** False: nothing is stored (the null backend), and waiting for a result is refused. */
  readonly storesResults: boolean;
  /** `watch` works: a waiter is told when its task is finished. */
  readonly push?: boolean;
  /** Reading a state takes it away (AMQP). Workers then never read, and complete no chords without `takesGroups`. */
  readonly readConsumes?: boolean;
  /** `takeGroup` works: workers use it, and not `read`, to complete chords. Only with `readConsumes`. */
  readonly takesGroups?: boolean;
  /** The largest state, in bytes of its encoded JSON. A larger result makes the task a FAILURE. */
  readonly maxStateBytes?: number;
  /** The most states in one `write` or `read`. Default: 1,000. */
  readonly maxBatch?: number;
  /** The most members of a group. */
  readonly maxGroupSize?: number;
}

/** Who may send a chord's callback: `done` when it was sent before, `other` while another member is at it. */
export type ChordClaim = 'claimed' | 'other' | 'done';

/** The final states of all members of a group, in the hands of whoever took them: nobody else finds them meanwhile. */
export interface TakenGroup {
  /** One of each member, the last that was written. */
  readonly states: readonly TaskState[];
  /** They are in the order of the group's meta; false: there is none, and they are in any order. */
  readonly inOrder: boolean;
  /** Gives them back, so that the next one finds them. `finishChord` ends them otherwise. Never rejects. */
  readonly release: () => Promise<void>;
}

/** Stores states of tasks and groups. */
export interface Backend {
  readonly contractVersion: ContractVersion;
  /** The package's name, for error messages. */
  readonly name: string;
  readonly capabilities: BackendCapabilities;

  /** Called by each `new Server` that it is given to. Must not connect. */
  attach?(environment: { readonly logger: Logger }): void;

  /**
   * Stores the states, one outcome for each in their order; resolves when they are stored. Core has at most one `write` for one task
   * under way, and writes the same state again when the outcome was not `stored`. A state that is too large is `failed` with
   * ERR_MACHINERY_STATE_TOO_LARGE, not retryable. After `close`, every call fails with ERR_MACHINERY_CLOSED.
   *
   * The rules of `mergeState` hold, and a state that loses changes nothing, not even the expiry: PENDING starts over; RECEIVED, STARTED and RETRY never replace a final state of the
   * same send; a name or time of sending that the state lacks is kept from what is stored. A state that has both may be
   * written blindly when it is final. A store without these rules in its language reads, merges with `mergeState` and writes
   * if nothing has changed in between; times are compared as times, not as text.
   */
  write(writes: readonly StateWrite[]): Promise<Outcome[]>;

  /** Reads states, in the order of `taskUuids`; undefined for what is not there or has expired. Rejects when the store cannot be asked. */
  read(taskUuids: readonly string[]): Promise<(TaskState | undefined)[]>;

  /** Removes states and group metas, any number of them. What is not there is no error. */
  purge(uuids: { readonly tasks?: readonly string[]; readonly groups?: readonly string[] }): Promise<void>;

  /** Stores a group's meta before its members are sent. Replaces what was there under the same UUID, its claim too. */
  initGroup(meta: GroupMeta, expiresInSeconds: number): Promise<void>;
  /** Reads a group's meta, undefined when it is not there or has expired. */
  readGroup(groupUuid: string): Promise<GroupMeta | undefined>;
  /** Keeps a group's meta for at least that much longer; never shortens it. A group that is gone is no error. */
  renewGroup(groupUuid: string, expiresInSeconds: number): Promise<void>;
  /**
   * Decides who sends the chord's callback: exactly one claimant gets `claimed`, however many ask at once, and gets it again
   * when it asks again (its redelivery after a crash). After `finishChord`, or when the meta says `chordTriggered`, everyone
   * gets `done`. The claim expires with the meta. Rejects with `ERR_MACHINERY_GROUP_EXPIRED` when that is gone.
   *
   * @param claimant stands for a member's message: its UUID, and which attempt it is from the second on.
   */
  claimChord(groupUuid: string, claimant: string): Promise<ChordClaim>;
  /**
   * Writes that the callback is sent: `chordTriggered` of the meta. Safe to call twice; a group that is gone is no error.
   * With `takeGroup`: from then on nobody can take the group's states, until `initGroup` begins it anew.
   */
  finishChord(groupUuid: string): Promise<void>;
  /**
   * Optional: takes the states of a chord's members when all `group.taskCount` of them have ended, which is counted by the writes with
   * that `group`. Exactly one of all that ask at once gets them; the others get undefined, as do those who come too early or after
   * `finishChord`. Whoever asks after the last of these writes was stored gets them, unless another one has them. They come back when they
   * are released, and when the process that has them dies. Rejects with `ERR_MACHINERY_GROUP_EXPIRED` when some are found to be lost.
   *
   * @param again the caller's state may have been written before, by a process that died: two states of one member count once.
   */
  takeGroup?(group: StateGroup, again: boolean): Promise<TakenGroup | undefined>;

  /**
   * Optional: calls `listener` once with the final state of `taskUuid`, if that is written after `watch` was called.
   * A hint: core also reads, so a lost call only costs time. A listener that throws does no harm to the write or to other
   * listeners. Answers a function that stops watching.
   */
  watch?(taskUuid: string, listener: (state: TaskState) => void): () => void;

  /** Ends the connections that the backend opened itself. Safe to call twice. */
  close(): Promise<void>;
}
