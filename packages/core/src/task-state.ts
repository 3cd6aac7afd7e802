// The stored state of a task and of a group. `mergeState` is the one place that says which of two states wins.

/** The states of a task, spelled as on the wire. */
export type StateName = 'PENDING' | 'RECEIVED' | 'STARTED' | 'RETRY' | 'SUCCESS' | 'FAILURE';

/** One returned value: its Go type and its value as JSON holds it. */
export interface TaskResult {
  readonly type: string;
  readonly value: unknown;
}

/** What a result backend stores for a task. */
export interface TaskState {
  readonly taskUuid: string;
  /** Empty where a Go worker on Memcache or AMQP wrote the state. */
  readonly taskName: string;
  readonly state: StateName;
  /** Present with SUCCESS. */
  readonly results?: readonly TaskResult[];
  /** Present with FAILURE, and with RETRY: the text of what the task threw. */
  readonly error?: string;
  /** When the task was sent, RFC 3339. Identifies the send: the same UUID can be sent again. Absent where Go lost it. */
  readonly createdAt?: string;
  /** Unix seconds after which the state is expired; only DynamoDB uses it. */
  readonly ttl?: number;
  /** Ours, unknown to Go: which attempt wrote the state; absent means the first. */
  readonly attempt?: number;
  /** Ours, with RETRY: the ETA of the next attempt, so that a redelivery publishes the same message again. */
  readonly retryEta?: string;
  /** Ours, with RETRY: the RetryCount of the next attempt. */
  readonly retryCount?: number;
}

/** What a result backend stores for a group. */
export interface GroupMeta {
  readonly groupUuid: string;
  readonly taskUuids: readonly string[];
  /** Decided, not sent: Go sets it before it sends the callback, and also when a member failed and nothing is sent. */
  readonly chordTriggered: boolean;
  readonly lock: boolean;
  readonly createdAt?: string;
  readonly ttl?: number;
}

/** The meta of a group that is about to be sent. `sentAt` is not after the times of its members, by which states of an earlier send are told. */
export function newGroupMeta(groupUuid: string, taskUuids: readonly string[], sentAt: string): GroupMeta {
  return { groupUuid, taskUuids, chordTriggered: false, lock: false, createdAt: sentAt };
}

/** Whether a state is final: the task will not run again under this send. */
export function isFinal(state: StateName): state is 'SUCCESS' | 'FAILURE' {
  return state === 'SUCCESS' || state === 'FAILURE';
}

/** Whether two states belong to the same send: both know when it was, and it is the same millisecond (the precision that every backend keeps). */
export function isSameSend(a: { createdAt?: string | undefined }, b: { createdAt?: string | undefined }): boolean {
  if (a.createdAt === undefined || b.createdAt === undefined) return false;
  return a.createdAt === b.createdAt || Date.parse(a.createdAt) === Date.parse(b.createdAt);
}

/** Whether a state is of a send before `time`. Unknown times: no. */
export function isOlderThan({ createdAt }: { createdAt?: string | undefined }, time: string | undefined): boolean {
  return createdAt !== undefined && time !== undefined && Date.parse(createdAt) < Date.parse(time);
}

/** Whether a state may be of a follow-up of what was sent at `time`: it is later then. Unknown times, and what is no time: yes. */
export function isAfter({ createdAt }: { createdAt?: string | undefined }, time: string | undefined): boolean {
  return createdAt === undefined || time === undefined || !(Date.parse(createdAt) <= Date.parse(time));
}

/**
 * What is stored when `incoming` meets `stored`. PENDING starts a send over. A late RECEIVED, STARTED or RETRY never
 * replaces a final state of the same send: then the answer is `stored` itself. What the incoming state does not know (name,
 * time of sending) is kept.
 * Backends that read before they write (memory, CAS) call this; the others express the same rule in their store's terms.
 */
export function mergeState(stored: TaskState | undefined, incoming: TaskState): TaskState {
  if (stored === undefined || incoming.state === 'PENDING') return incoming;
  if (isFinal(stored.state) && !isFinal(incoming.state) && isSameSend(stored, incoming)) return stored;
  if (incoming.createdAt !== undefined && incoming.taskName !== '') return incoming;
  return {
    ...incoming,
    taskName: incoming.taskName || stored.taskName,
    ...((incoming.createdAt ?? stored.createdAt) !== undefined && {
      createdAt: incoming.createdAt ?? stored.createdAt,
    }),
  } as TaskState;
}
