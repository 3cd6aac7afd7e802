// States and group metas as the documents that Go Machinery stores, with its names of fields. Go's decoder takes a value's BSON type
// for its Go type: integers are 64 bits wide and floats are doubles here, whatever JavaScript would make of them.

import type { GroupMeta, StateName, TaskResult, TaskState } from '@machinery/core';
import { type Binary, Double } from 'mongodb';

interface ResultDocument {
  readonly type: string;
  readonly value: unknown;
}

/** A task. The fields after `delete_at` are ours, and only there where they are needed. */
export interface StateDocument {
  readonly _id: string;
  readonly task_name?: string;
  readonly state: string;
  readonly results?: readonly ResultDocument[] | null;
  readonly error?: string;
  readonly created_at?: Date;
  /** When the TTL index removes it. Go: only what has ended has it. */
  readonly delete_at?: Date;
  readonly attempt?: number;
  readonly retry_eta?: string;
  readonly retry_count?: number;
}

/** A group. `delete_at` and `claim`, the member that sends the callback, are ours. */
export interface GroupDocument {
  readonly _id: string;
  readonly task_uuids: readonly string[] | null;
  readonly chord_triggered: boolean;
  readonly lock: boolean;
  readonly created_at?: Date;
  readonly delete_at?: Date;
  readonly claim?: string | null;
}

/** What a state says: a name or time that it lacks is not among them. */
export type StateFields = Omit<StateDocument, '_id'>;

const names: ReadonlySet<string> = new Set<StateName>([
  'PENDING',
  'RECEIVED',
  'STARTED',
  'RETRY',
  'SUCCESS',
  'FAILURE',
]);

export function encodeState(state: TaskState, deleteAt: Date): StateFields {
  const { taskName, results, error, createdAt, attempt, retryEta, retryCount } = state;
  return {
    ...(taskName !== '' && { task_name: taskName }),
    state: state.state,
    ...((results !== undefined || state.state === 'SUCCESS') && { results: (results ?? []).map(encodeResult) }),
    ...(error && { error }),
    ...(createdAt !== undefined && { created_at: new Date(createdAt) }),
    delete_at: deleteAt,
    ...(attempt !== undefined && { attempt }),
    ...(retryEta !== undefined && { retry_eta: retryEta }),
    ...(retryCount !== undefined && { retry_count: retryCount }),
  };
}

/** The state in a document; undefined when it has expired, which the server removes within a minute. Throws when it is no state. */
export function decodeState(document: StateDocument): TaskState | undefined {
  if (hasExpired(document)) return undefined;
  const { _id, task_name: taskName = '', state, results, error, created_at: createdAt, attempt } = document;
  const { retry_eta: retryEta, retry_count: retryCount } = document;
  if (!names.has(state)) throw new TypeError(`\`state\` is ${JSON.stringify(state)}`);
  const name = state as StateName;
  return {
    taskUuid: _id,
    taskName,
    state: name,
    // Go: a task that is sent again still has the results or the error of the time before
    ...(name === 'SUCCESS' && { results: (results ?? []).map(decodeResult) }),
    ...(error && (name === 'FAILURE' || name === 'RETRY') && { error }),
    ...(createdAt && { createdAt: createdAt.toISOString() }),
    ...(attempt !== undefined && { attempt }),
    ...(retryEta !== undefined && { retryEta }),
    ...(retryCount !== undefined && { retryCount }),
  };
}

export function encodeGroup(meta: GroupMeta, deleteAt: Date): Omit<GroupDocument, '_id'> {
  return {
    task_uuids: meta.taskUuids,
    chord_triggered: meta.chordTriggered,
    lock: meta.lock,
    ...(meta.createdAt !== undefined && { created_at: new Date(meta.createdAt) }),
    delete_at: deleteAt,
  };
}

/** The meta in a document; undefined when it has expired. */
export function decodeGroup(document: GroupDocument): GroupMeta | undefined {
  if (hasExpired(document)) return undefined;
  const { _id, task_uuids: taskUuids, chord_triggered: chordTriggered, lock, created_at: createdAt } = document;
  return {
    groupUuid: _id,
    taskUuids: taskUuids ?? [],
    chordTriggered,
    lock,
    ...(createdAt && { createdAt: createdAt.toISOString() }),
  };
}

export function hasExpired({ delete_at: deleteAt }: { readonly delete_at?: Date }): boolean {
  return deleteAt !== undefined && deleteAt.getTime() <= Date.now();
}

function encodeResult({ type, value }: TaskResult): ResultDocument {
  return { type, value: encodeValue(type, value) };
}

function encodeValue(type: string, value: unknown): unknown {
  if (value === undefined || value === null) return null;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64'); // Go reads no BSON binary
  if (Array.isArray(value)) return value.map((element) => encodeValue(type.replace('[]', ''), element));
  if (typeof value !== 'number' && typeof value !== 'bigint') return value;
  const isInteger = typeof value === 'bigint' || Number.isInteger(value);
  return isInteger && !type.startsWith('float') ? encodeInteger(BigInt(value)) : new Double(Number(value));
}

/** BSON has no unsigned integers: what is longer is text. (Go cannot store it at all.) */
function encodeInteger(integer: bigint): bigint | string {
  return BigInt.asIntN(64, integer) === integer ? integer : String(integer);
}

function decodeResult({ type, value }: ResultDocument): TaskResult {
  // Go: what a task returned as a text that is a JSON object
  if (type === 'json') return { type: 'string', value: JSON.stringify(value) };
  return { type, value: decodeValue(type, value) };
}

function decodeValue(type: string, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((element) => decodeValue(type.replace('[]', ''), element));
  if (isBinary(value)) return value.toString('base64'); // Go: a slice of bytes
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (typeof value === 'string' && /^uint(?:64)?$/.test(type) && /^\d{19,20}$/.test(value)) return BigInt(value);
  return value ?? null;
}

/** Of whichever copy of the driver. */
function isBinary(value: unknown): value is Binary {
  return (value as { _bsontype?: unknown } | null)?._bsontype === 'Binary';
}
