// States of tasks and metas of groups as the items of Go Machinery, and how large an item is. Go's UpdateItem leaves attributes of
// earlier states where they are: only those that belong to the state are read.

import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { type GroupMeta, MachineryError, type StateName, type TaskResult, type TaskState } from '@machinery/core';
import { decodeValue, encodeValue } from './values.ts';

export type Item = Record<string, AttributeValue>;

/** The attributes of a state beside its key. */
export const stateAttributes = [
  'TaskName',
  'State',
  'Results',
  'Error',
  'CreatedAt',
  'TTL',
  'Attempt',
  'RetryETA',
  'RetryCount',
] as const;

const stateNames: ReadonlySet<string> = new Set<StateName>([
  'PENDING',
  'RECEIVED',
  'STARTED',
  'RETRY',
  'SUCCESS',
  'FAILURE',
]);

/** Go's zero time, which stands for none. */
const zeroTime = '0001-01-01T00:00:00Z';

/** @throws MachineryError ERR_MACHINERY_BACKEND_FAILED */
export function stateItem(state: TaskState, ttl: number): Item {
  const { taskUuid, taskName, results, error, createdAt, attempt, retryEta, retryCount } = state;
  const item: Item = { TaskUUID: text(taskUuid), State: text(state.state), TTL: number(ttl) };
  if (taskName !== '') item.TaskName = text(taskName);
  if (results !== undefined || state.state === 'SUCCESS') item.Results = { L: (results ?? []).map(resultAttribute) };
  if (error) item.Error = text(error);
  if (createdAt !== undefined) item.CreatedAt = text(createdAt);
  if (attempt !== undefined) item.Attempt = number(attempt);
  if (retryEta !== undefined) item.RetryETA = text(retryEta);
  if (retryCount !== undefined) item.RetryCount = number(retryCount);
  return item;
}

function resultAttribute({ type, value }: TaskResult): AttributeValue {
  return { M: { Type: text(type), Value: encodeValue(value) } };
}

/** @throws TypeError for what is no state. */
export function stateOf(item: Item): TaskState {
  const state = item.State?.S ?? '';
  if (!stateNames.has(state)) throw new TypeError(`its State is ${JSON.stringify(item.State ?? null)}`);
  const mayRetry = state === 'RETRY';
  return {
    taskUuid: item.TaskUUID?.S ?? '',
    taskName: item.TaskName?.S ?? '',
    state: state as StateName,
    ...(state === 'SUCCESS' && { results: (item.Results?.L ?? []).map(resultOf) }),
    ...((mayRetry || state === 'FAILURE') && item.Error?.S && { error: item.Error.S }),
    ...timeOf(item),
    ...integer('attempt', item.Attempt),
    ...(mayRetry && item.RetryETA?.S !== undefined && { retryEta: item.RetryETA.S }),
    ...(mayRetry && integer('retryCount', item.RetryCount)),
  };
}

function resultOf({ M: { Type, Value } = {} }: AttributeValue): TaskResult {
  const type = Type?.S ?? '';
  return { type, value: decodeValue(type, Value) };
}

export function groupItem(meta: GroupMeta, ttl: number): Item {
  const { groupUuid, taskUuids, chordTriggered, lock, createdAt } = meta;
  return {
    GroupUUID: text(groupUuid),
    TaskUUIDs: { L: taskUuids.map(text) },
    ChordTriggered: { BOOL: chordTriggered },
    Lock: { BOOL: lock },
    ...(createdAt !== undefined && { CreatedAt: text(createdAt) }),
    TTL: number(ttl),
  };
}

/** The flag that comes with a claim is not the group's: see `claim` of `DynamoBackend`. */
export function groupOf(item: Item): GroupMeta {
  return {
    groupUuid: item.GroupUUID?.S ?? '',
    taskUuids: (item.TaskUUIDs?.L ?? []).map(({ S = '' }) => S),
    chordTriggered: item.ChordTriggered?.BOOL === true && item.ClaimedBy === undefined,
    lock: item.Lock?.BOOL === true,
    ...timeOf(item),
  };
}

function timeOf({ CreatedAt, TTL }: Item): Pick<TaskState, 'createdAt' | 'ttl'> {
  const createdAt = CreatedAt?.S;
  return {
    ...(createdAt !== undefined && createdAt !== zeroTime && { createdAt }),
    ...(TTL?.N !== undefined && TTL.N !== '0' && { ttl: Number(TTL.N) }),
  };
}

/** DynamoDB deletes hours or days after the time; 0 is Go's for no time. */
export function isExpired({ TTL }: Item): boolean {
  const ttl = Number(TTL?.N ?? 0);
  return ttl !== 0 && ttl * 1_000 <= Date.now();
}

/** The second until which an item is kept: it may be late, but never early. */
export function ttlAfter(seconds: number): number {
  return Math.ceil(Date.now() / 1_000 + seconds);
}

function text(value: string): { S: string } {
  return { S: value };
}

export function number(value: number): { N: string } {
  return { N: String(value) };
}

function integer<Name extends string>(name: Name, attribute: AttributeValue | undefined): { [N in Name]?: number } {
  const value = Number(attribute?.N ?? Number.NaN);
  return Number.isSafeInteger(value) ? ({ [name]: value } as { [N in Name]?: number }) : {};
}

/** Bytes, as DynamoDB counts those of an item: names too. */
export function itemBytes(item: Item): number {
  let bytes = 0;
  for (const [name, attribute] of Object.entries(item)) bytes += Buffer.byteLength(name) + attributeBytes(attribute);
  return bytes;
}

function attributeBytes({ S, N, L, M }: AttributeValue): number {
  if (S !== undefined) return Buffer.byteLength(S);
  // Two digits a byte, and one byte more: never less than DynamoDB counts
  if (N !== undefined) return 1 + Math.ceil((N.length + 1) / 2);
  if (L !== undefined) return L.reduce((sum, element) => sum + 1 + attributeBytes(element), 3);
  return M === undefined ? 1 : 3 + Object.keys(M).length + itemBytes(M);
}

/** @throws MachineryError ERR_MACHINERY_STATE_TOO_LARGE when DynamoDB would not take the item. */
export function checkBytes(what: string, bytes: number, maxBytes: number): void {
  if (bytes <= maxBytes) return;
  const why = `${what} has ${bytes} bytes, and DynamoDB takes at most ${maxBytes}`;
  throw new MachineryError('ERR_MACHINERY_STATE_TOO_LARGE', why);
}
