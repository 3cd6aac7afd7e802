// Signatures as the JSON that Go Machinery v2 reads and writes, in two forms: compact (what we send: zero values left
// out, which Go fills in again) and canonical (byte for byte what Go prints). Neighbours: `json.ts` for the values,
// `fields.ts` for checking. Invariant: both forms decode to the same signature, and values pass through untouched.

import { MachineryError } from '../errors.ts';
import { type Arg, maxCallbackDepth, type Signature } from '../signature.ts';
import {
  fieldNames,
  invalidField,
  invalidMessage,
  isOtherCase,
  type JsonObject,
  parseObject,
  readArray,
  readBoolean,
  readExactNames,
  readInteger,
  readObject,
  readString,
  readTime,
  withExactNames,
  writeInteger,
} from './fields.ts';
import { goQuote, goStringify, quoteJson, stringifyJson } from './json.ts';
import { encodeTime } from './time.ts';

const minInt = Number.MIN_SAFE_INTEGER;
const maxInt = Number.MAX_SAFE_INTEGER;
const maxPriority = 255;

/**
 * The message of a signature, without the fields at their zero values.
 * @param chordCallback the chord's callback as text, where it has been encoded before: all members carry the same.
 */
export function encodeSignature(signature: Signature, chordCallback?: string): string {
  const text = encodeCompact(signature, 0, chordCallback);
  text.charCodeAt(0); // makes one flat string of what was put together: a large group is held in memory for a while
  return text;
}

/** A chord's callback as its members carry it. */
export function encodeChordCallback(callback: Signature): string {
  return encodeCompact(callback, 1);
}

function encodeCompact(signature: Signature, depth: number, callbackText?: string): string {
  if (depth > maxCallbackDepth) throw tooDeep();
  const { uuid, name, routingKey, eta, groupUuid, groupTaskCount, args, headers, priority } = signature;
  const { retryCount, retryTimeout, onSuccess, onError, chordCallback } = signature;
  const { brokerMessageGroupId, sqsReceiptHandle } = signature;
  let text = uuid ? `{"UUID":${quoteJson(uuid)},"Name":${quoteJson(name)}` : `{"Name":${quoteJson(name)}`;
  if (routingKey) text += `,"RoutingKey":${quoteJson(routingKey)}`;
  if (eta !== undefined) text += `,"ETA":"${encodeTime(eta)}"`;
  if (groupUuid) text += `,"GroupUUID":${quoteJson(groupUuid)}`;
  if (groupTaskCount) text += `,"GroupTaskCount":${writeInteger('groupTaskCount', groupTaskCount, minInt, maxInt)}`;
  if (args !== undefined) text += `,"Args":[${encodeArgs(args)}]`;
  if (headers !== undefined) text += `,"Headers":${stringifyJson(headers)}`;
  if (priority) text += `,"Priority":${writeInteger('priority', priority, 0, maxPriority)}`;
  if (signature.immutable) text += ',"Immutable":true';
  if (retryCount) text += `,"RetryCount":${writeInteger('retryCount', retryCount, minInt, maxInt)}`;
  if (retryTimeout) text += `,"RetryTimeout":${writeInteger('retryTimeout', retryTimeout, minInt, maxInt)}`;
  if (onSuccess !== undefined) text += `,"OnSuccess":${encodeCallbacks(onSuccess, encodeCompact, depth)}`;
  if (onError !== undefined) text += `,"OnError":${encodeCallbacks(onError, encodeCompact, depth)}`;
  if (chordCallback !== undefined)
    text += `,"ChordCallback":${callbackText ?? encodeCompact(chordCallback, depth + 1)}`;
  if (brokerMessageGroupId) text += `,"BrokerMessageGroupId":${quoteJson(brokerMessageGroupId)}`;
  if (sqsReceiptHandle) text += `,"SQSReceiptHandle":${quoteJson(sqsReceiptHandle)}`;
  if (signature.stopTaskDeletionOnError) text += ',"StopTaskDeletionOnError":true';
  if (signature.ignoreWhenTaskNotRegistered) text += ',"IgnoreWhenTaskNotRegistered":true';
  return `${text}}`;
}

function encodeArgs(args: readonly Arg[]): string {
  let text = '';
  for (let i = 0; i < args.length; i++) {
    const { name, type, value } = args[i] as Arg;
    if (i > 0) text += ',';
    text += name ? `{"Name":${quoteJson(name)},"Type":${quoteJson(type)}` : `{"Type":${quoteJson(type)}`;
    text += value === null || value === undefined ? '}' : `,"Value":${stringifyJson(value)}}`;
  }
  return text;
}

type Encode = (signature: Signature, depth: number) => string;

function encodeCallbacks(callbacks: readonly Signature[], encode: Encode, depth: number): string {
  let text = '[';
  for (let i = 0; i < callbacks.length; i++) {
    if (i > 0) text += ',';
    text += encode(callbacks[i] as Signature, depth + 1);
  }
  return `${text}]`;
}

/** The message of a signature exactly as Go prints it. */
export function encodeSignatureCanonical(signature: Signature): string {
  return encodeCanonical(signature, 0);
}

function encodeCanonical(signature: Signature, depth: number): string {
  if (depth > maxCallbackDepth) throw tooDeep();
  const { eta, args, headers, onSuccess, onError, chordCallback } = signature;
  const fields = [
    `"UUID":${goQuote(signature.uuid ?? '')}`,
    `"Name":${goQuote(signature.name)}`,
    `"RoutingKey":${goQuote(signature.routingKey ?? '')}`,
    `"ETA":${eta === undefined ? 'null' : `"${encodeTime(eta)}"`}`,
    `"GroupUUID":${goQuote(signature.groupUuid ?? '')}`,
    `"GroupTaskCount":${writeInteger('groupTaskCount', signature.groupTaskCount ?? 0, minInt, maxInt)}`,
    `"Args":${args === undefined ? 'null' : `[${args.map(encodeCanonicalArg).join(',')}]`}`,
    `"Headers":${headers === undefined ? 'null' : goStringify(headers)}`,
    `"Priority":${writeInteger('priority', signature.priority ?? 0, 0, maxPriority)}`,
    `"Immutable":${signature.immutable === true}`,
    `"RetryCount":${writeInteger('retryCount', signature.retryCount ?? 0, minInt, maxInt)}`,
    `"RetryTimeout":${writeInteger('retryTimeout', signature.retryTimeout ?? 0, minInt, maxInt)}`,
    `"OnSuccess":${onSuccess === undefined ? 'null' : encodeCallbacks(onSuccess, encodeCanonical, depth)}`,
    `"OnError":${onError === undefined ? 'null' : encodeCallbacks(onError, encodeCanonical, depth)}`,
    `"ChordCallback":${chordCallback === undefined ? 'null' : encodeCanonical(chordCallback, depth + 1)}`,
    `"BrokerMessageGroupId":${goQuote(signature.brokerMessageGroupId ?? '')}`,
    `"SQSReceiptHandle":${goQuote(signature.sqsReceiptHandle ?? '')}`,
    `"StopTaskDeletionOnError":${signature.stopTaskDeletionOnError === true}`,
    `"IgnoreWhenTaskNotRegistered":${signature.ignoreWhenTaskNotRegistered === true}`,
  ];
  return `{${fields.join(',')}}`;
}

function encodeCanonicalArg({ name = '', type, value }: Arg): string {
  return `{"Name":${goQuote(name)},"Type":${goQuote(type)},"Value":${goStringify(value ?? null)}}`;
}

type Draft = { -readonly [Key in keyof Signature]?: Signature[Key] };

const names = fieldNames(
  'UUID',
  'Name',
  'RoutingKey',
  'ETA',
  'GroupUUID',
  'GroupTaskCount',
  'Args',
  'Headers',
  'Priority',
  'Immutable',
  'RetryCount',
  'RetryTimeout',
  'OnSuccess',
  'OnError',
  'ChordCallback',
  'BrokerMessageGroupId',
  'SQSReceiptHandle',
  'StopTaskDeletionOnError',
  'IgnoreWhenTaskNotRegistered',
);
const argNames = fieldNames('Name', 'Type', 'Value');

/**
 * The signature of a message in either form. What is null or at its zero value is absent. Throws
 * ERR_MACHINERY_INVALID_MESSAGE, or ERR_MACHINERY_CALLBACKS_TOO_DEEP when callbacks nest deeper than `maxCallbackDepth`.
 */
export function decodeSignature(text: string): Signature {
  return readSignature(parseObject(text, 'a task message'), 0);
}

function readSignature(object: JsonObject, depth: number): Signature {
  if (depth > maxCallbackDepth) throw tooDeep();
  const draft: Draft = {};
  for (const key in object) {
    if (readOwnField(draft, key, object[key])) continue;
    // Before the callbacks are read: reading them again at each level would take exponential time.
    if (isOtherCase(names, key)) return readSignature(withExactNames(names, object), depth);
  }
  if (!draft.name)
    throw invalidMessage(`Expected Name to be the name of a task, got ${'Name' in object ? 'an empty one' : 'none'}`);
  const { OnSuccess, OnError, ChordCallback } = object;
  if (OnSuccess !== undefined && OnSuccess !== null) draft.onSuccess = readCallbacks('OnSuccess', OnSuccess, depth);
  if (OnError !== undefined && OnError !== null) draft.onError = readCallbacks('OnError', OnError, depth);
  if (ChordCallback !== undefined && ChordCallback !== null) {
    draft.chordCallback = readSignature(readObject('ChordCallback', ChordCallback), depth + 1);
  }
  return draft as Signature;
}

/** Reads a field that holds no signatures. False when there is no field of this name. */
function readOwnField(draft: Draft, key: string, value: unknown): boolean {
  switch (key) {
    case 'UUID': {
      const uuid = readString(key, value);
      if (uuid !== '') draft.uuid = uuid;
      return true;
    }
    case 'Name':
      draft.name = readString(key, value);
      return true;
    case 'RoutingKey': {
      const routingKey = readString(key, value);
      if (routingKey !== '') draft.routingKey = routingKey;
      return true;
    }
    case 'ETA':
      if (value !== null) draft.eta = readTime(key, value);
      return true;
    case 'GroupUUID': {
      const groupUuid = readString(key, value);
      if (groupUuid !== '') draft.groupUuid = groupUuid;
      return true;
    }
    case 'GroupTaskCount': {
      const groupTaskCount = readInteger(key, value, minInt, maxInt);
      if (groupTaskCount !== 0) draft.groupTaskCount = groupTaskCount;
      return true;
    }
    case 'Args':
      if (value !== null) draft.args = readArray(key, value).map(readArg);
      return true;
    case 'Headers':
      if (value !== null) draft.headers = readObject(key, value);
      return true;
    case 'Priority': {
      const priority = readInteger(key, value, 0, maxPriority);
      if (priority !== 0) draft.priority = priority;
      return true;
    }
    case 'Immutable':
      if (readBoolean(key, value)) draft.immutable = true;
      return true;
    case 'RetryCount': {
      const retryCount = readInteger(key, value, minInt, maxInt);
      if (retryCount !== 0) draft.retryCount = retryCount;
      return true;
    }
    case 'RetryTimeout': {
      const retryTimeout = readInteger(key, value, minInt, maxInt);
      if (retryTimeout !== 0) draft.retryTimeout = retryTimeout;
      return true;
    }
    case 'OnSuccess':
    case 'OnError':
    case 'ChordCallback':
      return true;
    case 'BrokerMessageGroupId': {
      const brokerMessageGroupId = readString(key, value);
      if (brokerMessageGroupId !== '') draft.brokerMessageGroupId = brokerMessageGroupId;
      return true;
    }
    case 'SQSReceiptHandle': {
      const sqsReceiptHandle = readString(key, value);
      if (sqsReceiptHandle !== '') draft.sqsReceiptHandle = sqsReceiptHandle;
      return true;
    }
    case 'StopTaskDeletionOnError':
      if (readBoolean(key, value)) draft.stopTaskDeletionOnError = true;
      return true;
    case 'IgnoreWhenTaskNotRegistered':
      if (readBoolean(key, value)) draft.ignoreWhenTaskNotRegistered = true;
      return true;
    default:
      return false;
  }
}

function readArg(element: unknown, index: number): Arg {
  // Go: a null among the arguments is the zero argument.
  if (element === null) return { type: '', value: null };
  const object = readExactNames(argNames, readObject(`Args[${index}]`, element));
  const { Name = '', Type = '', Value = null } = object;
  if (typeof Type !== 'string' && Type !== null) throw invalidField(`Args[${index}].Type`, 'a string', Type);
  const name = Name === '' ? '' : readString(`Args[${index}].Name`, Name);
  return name === '' ? { type: Type ?? '', value: Value } : { name, type: Type ?? '', value: Value };
}

function readCallbacks(field: string, value: unknown, depth: number): Signature[] {
  return readArray(field, value).map((element, i) => readSignature(readObject(`${field}[${i}]`, element), depth + 1));
}

function tooDeep(): MachineryError {
  return new MachineryError(
    'ERR_MACHINERY_CALLBACKS_TOO_DEEP',
    `The callbacks of a signature nest more than ${maxCallbackDepth} deep, or a signature is its own callback`,
  );
}
