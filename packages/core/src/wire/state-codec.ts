// Task states and group metas as the JSON that Go Machinery v2 stores, compact and canonical like signatures. Neighbours:
// the result backends that store text, `fields.ts` for checking. Invariant: both forms decode to the same state, and the
// fields of our own come last and only when they are there, so that Go's form stays byte for byte Go's.

import type { GroupMeta, StateName, TaskResult, TaskState } from '../task-state.ts';
import {
  fieldNames,
  invalidField,
  parseObject,
  readArray,
  readBoolean,
  readExactNames,
  readInteger,
  readObject,
  readString,
  readTime,
  writeInteger,
} from './fields.ts';
import { goQuote, goStringify, quoteJson, stringifyJson } from './json.ts';
import { encodeTime, zeroTime } from './time.ts';

const minInt = Number.MIN_SAFE_INTEGER;
const maxInt = Number.MAX_SAFE_INTEGER;

/** A state without the fields at their zero values. */
export function encodeState(state: TaskState): string {
  const { taskUuid, taskName, state: name, results, error, createdAt, ttl } = state;
  let text = `{"TaskUUID":${quoteJson(taskUuid)}`;
  if (taskName) text += `,"TaskName":${quoteJson(taskName)}`;
  text += `,"State":"${name}"`;
  // Go: a task that returned nothing has [], which is not its zero value.
  if (results !== undefined) text += `,"Results":${encodeResults(results)}`;
  else if (name === 'SUCCESS') text += ',"Results":[]';
  if (error) text += `,"Error":${quoteJson(error)}`;
  if (createdAt !== undefined) text += `,"CreatedAt":"${encodeTime(createdAt)}"`;
  if (ttl) text += `,"TTL":${writeInteger('ttl', ttl, minInt, maxInt)}`;
  return `${text}${encodeOwnFields(state)}}`;
}

function encodeResults(results: readonly TaskResult[]): string {
  let text = '[';
  for (let i = 0; i < results.length; i++) {
    const { type, value } = results[i] as TaskResult;
    if (i > 0) text += ',';
    text += `{"Type":${quoteJson(type)}`;
    text += value === null || value === undefined ? '}' : `,"Value":${stringifyJson(value)}}`;
  }
  return `${text}]`;
}

function encodeOwnFields({ attempt, retryEta, retryCount }: TaskState): string {
  let text = '';
  if (attempt !== undefined) text += `,"Attempt":${writeInteger('attempt', attempt, 0, maxInt)}`;
  if (retryEta !== undefined) text += `,"RetryETA":"${encodeTime(retryEta)}"`;
  if (retryCount !== undefined) text += `,"RetryCount":${writeInteger('retryCount', retryCount, 0, maxInt)}`;
  return text;
}

/** A state exactly as Go prints it, and the fields of our own where there are any. */
export function encodeStateCanonical(state: TaskState): string {
  const results = state.results ?? (state.state === 'SUCCESS' ? [] : undefined);
  const fields = [
    `"TaskUUID":${goQuote(state.taskUuid)}`,
    `"TaskName":${goQuote(state.taskName)}`,
    `"State":${goQuote(state.state)}`,
    `"Results":${results === undefined ? 'null' : `[${results.map(encodeCanonicalResult).join(',')}]`}`,
    `"Error":${goQuote(state.error ?? '')}`,
    `"CreatedAt":"${state.createdAt === undefined ? zeroTime : encodeTime(state.createdAt)}"`,
    `"TTL":${writeInteger('ttl', state.ttl ?? 0, minInt, maxInt)}`,
  ];
  return `{${fields.join(',')}${encodeOwnFields(state)}}`;
}

function encodeCanonicalResult({ type, value }: TaskResult): string {
  return `{"Type":${goQuote(type)},"Value":${goStringify(value ?? null)}}`;
}

/** A group meta without the fields at their zero values. */
export function encodeGroupMeta(meta: GroupMeta): string {
  const { groupUuid, taskUuids, createdAt, ttl } = meta;
  let text = `{"GroupUUID":${quoteJson(groupUuid)},"TaskUUIDs":[${taskUuids.map(quoteJson).join(',')}]`;
  if (meta.chordTriggered) text += ',"ChordTriggered":true';
  if (meta.lock) text += ',"Lock":true';
  if (createdAt !== undefined) text += `,"CreatedAt":"${encodeTime(createdAt)}"`;
  if (ttl) text += `,"TTL":${writeInteger('ttl', ttl, minInt, maxInt)}`;
  return `${text}}`;
}

/** A group meta exactly as Go prints it. */
export function encodeGroupMetaCanonical(meta: GroupMeta): string {
  const fields = [
    `"GroupUUID":${goQuote(meta.groupUuid)}`,
    `"TaskUUIDs":[${meta.taskUuids.map(goQuote).join(',')}]`,
    `"ChordTriggered":${meta.chordTriggered}`,
    `"Lock":${meta.lock}`,
    `"CreatedAt":"${meta.createdAt === undefined ? zeroTime : encodeTime(meta.createdAt)}"`,
    `"TTL":${writeInteger('ttl', meta.ttl ?? 0, minInt, maxInt)}`,
  ];
  return `{${fields.join(',')}}`;
}

type StateDraft = { -readonly [Key in keyof TaskState]: TaskState[Key] };

const stateNames = fieldNames(
  'TaskUUID',
  'TaskName',
  'State',
  'Results',
  'Error',
  'CreatedAt',
  'TTL',
  'Attempt',
  'RetryETA',
  'RetryCount',
);
const resultNames = fieldNames('Type', 'Value');
const metaNames = fieldNames('GroupUUID', 'TaskUUIDs', 'ChordTriggered', 'Lock', 'CreatedAt', 'TTL');

/** The state in a stored text of either form. Throws ERR_MACHINERY_INVALID_MESSAGE. */
export function decodeState(text: string): TaskState {
  const object = readExactNames(stateNames, parseObject(text, 'a task state'));
  const { TaskUUID = '', TaskName = '', Results = null, Error: error = '', CreatedAt = null } = object;
  const { TTL = 0, Attempt = null, RetryETA = null, RetryCount = null } = object;
  const draft: StateDraft = {
    taskUuid: readString('TaskUUID', TaskUUID),
    taskName: readString('TaskName', TaskName),
    state: readStateName(object.State),
  };
  if (Results !== null) draft.results = readArray('Results', Results).map(readResult);
  else if (draft.state === 'SUCCESS') draft.results = [];
  if (error !== '' && error !== null) draft.error = readString('Error', error);
  if (CreatedAt !== null && CreatedAt !== zeroTime) draft.createdAt = readTime('CreatedAt', CreatedAt);
  const ttl = readInteger('TTL', TTL, minInt, maxInt);
  if (ttl !== 0) draft.ttl = ttl;
  if (Attempt !== null) draft.attempt = readInteger('Attempt', Attempt, 0, maxInt);
  if (RetryETA !== null) draft.retryEta = readTime('RetryETA', RetryETA);
  if (RetryCount !== null) draft.retryCount = readInteger('RetryCount', RetryCount, 0, maxInt);
  return draft;
}

function readStateName(value: unknown): StateName {
  switch (value) {
    case 'PENDING':
    case 'RECEIVED':
    case 'STARTED':
    case 'RETRY':
    case 'SUCCESS':
    case 'FAILURE':
      return value;
    default:
      throw invalidField('State', 'PENDING, RECEIVED, STARTED, RETRY, SUCCESS or FAILURE', value ?? null);
  }
}

function readResult(element: unknown, index: number): TaskResult {
  const object = readExactNames(resultNames, readObject(`Results[${index}]`, element));
  const { Type = '', Value = null } = object;
  return { type: readResultType(Type, index), value: Value };
}

function readResultType(value: unknown, index: number): string {
  return typeof value === 'string' ? value : readString(`Results[${index}].Type`, value);
}

/** The group meta in a stored text of either form. Throws ERR_MACHINERY_INVALID_MESSAGE. */
export function decodeGroupMeta(text: string): GroupMeta {
  const object = readExactNames(metaNames, parseObject(text, 'a group meta'));
  const { GroupUUID = '', TaskUUIDs = null, ChordTriggered = false, Lock = false, CreatedAt = null, TTL = 0 } = object;
  const uuids = TaskUUIDs === null ? [] : readArray('TaskUUIDs', TaskUUIDs);
  const ttl = readInteger('TTL', TTL, minInt, maxInt);
  return {
    groupUuid: readString('GroupUUID', GroupUUID),
    taskUuids: uuids.map((uuid, i) => readString(`TaskUUIDs[${i}]`, uuid)),
    chordTriggered: readBoolean('ChordTriggered', ChordTriggered),
    lock: readBoolean('Lock', Lock),
    ...(CreatedAt !== null && CreatedAt !== zeroTime && { createdAt: readTime('CreatedAt', CreatedAt) }),
    ...(ttl !== 0 && { ttl }),
  };
}
