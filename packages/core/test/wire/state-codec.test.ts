import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeGroupMeta,
  decodeState,
  encodeGroupMeta,
  encodeGroupMetaCanonical,
  encodeState,
  encodeStateCanonical,
} from '../../src/wire/state-codec.ts';
import { groupMeta, taskState } from './arbitraries.ts';
import { readVectors } from './vectors.ts';

const { groupMeta: metaText = '', ...stateTexts } = readVectors<Record<string, string>>('states');
const invalidMessage = (message: string) => expect.objectContaining({ code: 'ERR_MACHINERY_INVALID_MESSAGE', message });

describe('what Go printed', () => {
  it.each(Object.entries(stateTexts))('is printed the same again: %s', (_, text) => {
    const decoded = decodeState(text);
    expect(encodeStateCanonical(decoded)).toBe(text);
    expect(decodeState(encodeState(decoded))).toStrictEqual(decoded);
  });

  it('is printed the same again: a group meta', () => {
    const decoded = decodeGroupMeta(metaText);
    expect(decoded).toStrictEqual({
      groupUuid: 'group_1',
      taskUuids: ['task_1', 'task_2'],
      chordTriggered: true,
      lock: false,
      createdAt: '2026-11-21T08:00:00.000000005Z',
    });
    expect(encodeGroupMetaCanonical(decoded)).toBe(metaText);
    expect(decodeGroupMeta(encodeGroupMeta(decoded))).toStrictEqual(decoded);
  });

  it('has absent properties for what is null or zero', () => {
    expect(decodeState(stateTexts.started as string)).toStrictEqual({
      taskUuid: 'task_1',
      taskName: '',
      state: 'STARTED',
    });
  });
});

describe('a task state', () => {
  it('leaves out zero values in the compact form, but not the results of a task that has none', () => {
    expect(encodeState({ taskUuid: 't', taskName: '', state: 'STARTED', error: '', ttl: 0 })).toBe(
      '{"TaskUUID":"t","State":"STARTED"}',
    );
    const done = { taskUuid: 't', taskName: 'a', state: 'SUCCESS' } as const;
    for (const state of [done, { ...done, results: [] }]) {
      expect(encodeState(state)).toBe('{"TaskUUID":"t","TaskName":"a","State":"SUCCESS","Results":[]}');
      expect(encodeStateCanonical(state)).toContain('"Results":[]');
    }
    expect(decodeState('{"TaskUUID":"t","State":"SUCCESS"}').results).toStrictEqual([]);
    expect(decodeState('{"TaskUUID":"t","State":"SUCCESS","Results":null}').results).toStrictEqual([]);
  });

  it('carries the fields of our own last, in both forms, only when they are there', () => {
    const state = {
      taskUuid: 't',
      taskName: 'a',
      state: 'RETRY',
      attempt: 2,
      retryEta: '2026-11-21T08:00:00Z',
      retryCount: 1,
    } as const;
    expect(encodeState(state)).toMatch(/,"Attempt":2,"RetryETA":"2026-11-21T08:00:00Z","RetryCount":1}$/);
    expect(encodeStateCanonical(state)).toMatch(
      /,"TTL":0,"Attempt":2,"RetryETA":"2026-11-21T08:00:00Z","RetryCount":1}$/,
    );
  });

  it('is the same after the round trip in either form', () => {
    fc.assert(
      fc.property(taskState, (state) => {
        deepStrictEqual(decodeState(encodeState(state)), state);
        deepStrictEqual(decodeState(encodeStateCanonical(state)), state);
      }),
      { numRuns: 300 },
    );
  });

  it('is read whatever the case of its names, the last of several counting', () => {
    expect(
      decodeState('{"taskuuid":"t","STATE":"PENDING","State":"SUCCESS","results":[{"TYPE":"int64","value":1}],"x":1}'),
    ).toStrictEqual({
      taskUuid: 't',
      taskName: '',
      state: 'SUCCESS',
      results: [{ type: 'int64', value: 1 }],
    });
  });

  it.each([
    [
      '{"State":"DONE"}',
      'Expected State to be PENDING, RECEIVED, STARTED, RETRY, SUCCESS or FAILURE, got `"DONE"` (string)',
    ],
    ['{}', 'Expected State to be PENDING, RECEIVED, STARTED, RETRY, SUCCESS or FAILURE, got `null` (null)'],
    ['{"State":"PENDING","TaskUUID":1}', 'Expected TaskUUID to be a string, got `1` (number)'],
    ['{"State":"SUCCESS","Results":{}}', 'Expected Results to be an array, got `{}` (object)'],
    ['{"State":"SUCCESS","Results":[null]}', 'Expected Results[0] to be an object, got `null` (null)'],
    ['{"State":"SUCCESS","Results":[{"Type":1}]}', 'Expected Results[0].Type to be a string, got `1` (number)'],
    ['{"State":"PENDING","CreatedAt":"x"}', 'Expected CreatedAt to be an RFC 3339 time, got `"x"` (string)'],
    [
      '{"State":"PENDING","TTL":1.0}',
      'Expected TTL to be an integer from -9007199254740991 to 9007199254740991, got `1.0` (number)',
    ],
    ['[]', 'Expected a task state as a JSON object, got `[]`'],
    ['x', 'Expected a task state as a JSON object, got what is not JSON: `x`'],
  ])('refuses %s', (text, message) => {
    expect(() => decodeState(text)).toThrow(invalidMessage(message));
  });
});

describe('a group meta', () => {
  it('is the same after the round trip in either form', () => {
    fc.assert(
      fc.property(groupMeta, (meta) => {
        deepStrictEqual(decodeGroupMeta(encodeGroupMeta(meta)), meta);
        deepStrictEqual(decodeGroupMeta(encodeGroupMetaCanonical(meta)), meta);
      }),
    );
  });

  it('has its zero values where nothing is said', () => {
    expect(decodeGroupMeta('{"groupuuid":"g","TaskUUIDs":null}')).toStrictEqual({
      groupUuid: 'g',
      taskUuids: [],
      chordTriggered: false,
      lock: false,
    });
  });

  it.each([
    ['{"TaskUUIDs":[1]}', 'Expected TaskUUIDs[0] to be a string, got `1` (number)'],
    ['{"Lock":"x"}', 'Expected Lock to be a boolean, got `"x"` (string)'],
    ['null', 'Expected a group meta as a JSON object, got `null`'],
  ])('refuses %s', (text, message) => {
    expect(() => decodeGroupMeta(text)).toThrow(invalidMessage(message));
  });
});
