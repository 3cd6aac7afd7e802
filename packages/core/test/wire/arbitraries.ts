// What fast-check makes for the codec tests: signatures and states in the form that decoding gives (nothing at its zero
// value), so that a round trip must give back the same.

import fc from 'fast-check';
import type { Arg, Signature } from '../../src/signature.ts';
import type { GroupMeta, TaskState } from '../../src/task-state.ts';
import { encodeTime } from '../../src/wire/time.ts';

/** No lone surrogates: Go has none, so the canonical form replaces them. */
const text = fc.string({ unit: 'grapheme', maxLength: 12 });
const filledText = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 });
const uuid = fc.uuid().map((id) => `task_${id}`);
const time = fc
  .tuple(fc.date({ min: new Date('0001-01-02'), max: new Date('9999-12-31'), noInvalidDate: true }), fc.nat(999_999))
  .map(([date, nanos]) => encodeTime(`${date.toISOString().slice(0, 23)}${String(nanos).padStart(6, '0')}Z`));

const key = fc.oneof(text, fc.constantFrom('__proto__', 'constructor', 'toString', 'Name'));
const number = fc.oneof(
  fc.integer(),
  // An unsafe integer comes back as a bigint.
  fc
    .double({ noNaN: true, noDefaultInfinity: true })
    .filter((n) => !Number.isInteger(n) || Number.isSafeInteger(n) || Math.abs(n) >= 1e21),
  fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).filter((n) => !Number.isSafeInteger(Number(n))),
);
export const jsonValue: fc.Arbitrary<unknown> = jsonNested(2);

function jsonNested(depth: number): fc.Arbitrary<unknown> {
  const scalar = fc.oneof(fc.constant(null), fc.boolean(), text, number);
  if (depth === 0) return scalar;
  const member = jsonNested(depth - 1);
  return fc.oneof({ weight: 3, arbitrary: scalar }, fc.array(member, { maxLength: 3 }), jsonObject(member));
}

function jsonObject(value: fc.Arbitrary<unknown>): fc.Arbitrary<Record<string, unknown>> {
  return fc.array(fc.tuple(key, value), { maxLength: 4 }).map((entries) => Object.fromEntries(entries));
}

const arg: fc.Arbitrary<Arg> = fc.record(
  { name: filledText, type: fc.oneof(fc.constantFrom('int64', 'string', '[]byte', 'float64'), text), value: jsonValue },
  { noNullPrototype: true, requiredKeys: ['type', 'value'] },
);
const positive = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const yes = fc.constant(true);

export const signature: fc.Arbitrary<Signature> = signatureNesting(2);

function signatureNesting(depth: number): fc.Arbitrary<Signature> {
  const own = {
    uuid,
    name: filledText,
    routingKey: filledText,
    eta: time,
    groupUuid: filledText,
    groupTaskCount: positive,
    args: fc.array(arg, { maxLength: 3 }),
    headers: jsonObject(jsonValue),
    priority: fc.integer({ min: 1, max: 255 }),
    immutable: yes,
    retryCount: positive,
    retryTimeout: positive,
    brokerMessageGroupId: filledText,
    sqsReceiptHandle: filledText,
    stopTaskDeletionOnError: yes,
    ignoreWhenTaskNotRegistered: yes,
  };
  if (depth === 0) return fc.record(own, { noNullPrototype: true, requiredKeys: ['name'] }) as fc.Arbitrary<Signature>;
  const callback = signatureNesting(depth - 1);
  const callbacks = fc.array(callback, { maxLength: 2 });
  return fc.record(
    { ...own, onSuccess: callbacks, onError: callbacks, chordCallback: callback },
    { noNullPrototype: true, requiredKeys: ['name'] },
  ) as fc.Arbitrary<Signature>;
}

export const taskState: fc.Arbitrary<TaskState> = fc
  .record(
    {
      taskUuid: uuid,
      taskName: text,
      state: fc.constantFrom('PENDING', 'RECEIVED', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE'),
      results: fc.array(fc.record({ type: text, value: jsonValue }, { noNullPrototype: true }), { maxLength: 3 }),
      error: filledText,
      createdAt: time,
      ttl: positive,
      attempt: fc.nat(),
      retryEta: time,
      retryCount: fc.nat(),
    },
    { noNullPrototype: true, requiredKeys: ['taskUuid', 'taskName', 'state'] },
  )
  .map((state) =>
    state.state === 'SUCCESS' && state.results === undefined ? { ...state, results: [] } : state,
  ) as fc.Arbitrary<TaskState>;

export const groupMeta: fc.Arbitrary<GroupMeta> = fc.record(
  {
    groupUuid: text,
    taskUuids: fc.array(uuid, { maxLength: 5 }),
    chordTriggered: fc.boolean(),
    lock: fc.boolean(),
    createdAt: time,
    ttl: positive,
  },
  { noNullPrototype: true, requiredKeys: ['groupUuid', 'taskUuids', 'chordTriggered', 'lock'] },
) as fc.Arbitrary<GroupMeta>;
