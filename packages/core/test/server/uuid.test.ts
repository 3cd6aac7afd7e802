// UUIDs that hold when a task was sent: their layout, and what is believed of them.

import { describe, expect, it } from 'vitest';
import { sentAtOf } from '../../src/sent-at.ts';
import { newSendUuid, newUuid, sentAtMsOf } from '../../src/uuid.ts';

const dayMs = 86_400_000;
const timeMs = Date.UTC(2024, 1, 29, 12, 0, 0, 123);

describe('newSendUuid', () => {
  it("has this process's digits, the time, version 8 and the variant where RFC 9562 wants them", () => {
    const digits = timeMs.toString(16).padStart(12, '0');
    const uuid = newSendUuid('task', timeMs);
    const [process, first, second, third, fourth] = uuid.slice('task_'.length).split('-') as string[];
    expect(uuid.startsWith(newUuid('task').slice(0, 13))).toBe(true);
    expect(process).toMatch(/^[0-9a-f]{8}$/);
    expect(first).toBe(digits.slice(0, 4));
    expect(second).toBe(`8${digits.slice(4, 7)}`);
    expect(third).toMatch(new RegExp(`^[89ab]${digits.slice(7, 10)}$`));
    expect(fourth).toMatch(new RegExp(`^${digits.slice(10)}[0-9a-f]{10}$`));
  });

  it('never makes the same twice: 200,000 in one millisecond', () => {
    const uuids = Array.from({ length: 200_000 }, () => newSendUuid('task', timeMs));
    expect(new Set(uuids).size).toBe(uuids.length);
    expect(uuids.every((uuid) => sentAtMsOf(uuid) === timeMs)).toBe(true);
  });

  it('does not repeat what it made of a millisecond when the clock comes back to it', () => {
    const uuids = Array.from({ length: 2_000 }, (_, i) => newSendUuid('task', timeMs + (i % 2)));
    expect(new Set(uuids).size).toBe(uuids.length);
    expect(new Set(uuids.map((uuid) => uuid.slice(24, 25))).size).toBe(4);
  });

  it('leaves out what is finer than a millisecond', () => {
    expect(sentAtMsOf(newSendUuid('task', timeMs + 0.75))).toBe(timeMs);
  });
});

describe('sentAtMsOf', () => {
  it.each(['task', 'chord', 'Job'])('reads the time behind any kind (%s)', (kind) => {
    for (const ms of [Date.UTC(2020), timeMs, Date.now(), Date.now() + dayMs - 1_000])
      expect(sentAtMsOf(newSendUuid(kind, ms))).toBe(ms);
  });

  it.each([
    ['0', 0],
    ['the end of 2019', Date.UTC(2020) - 1],
    ['more than a day ahead', Date.now() + dayMs + 60_000],
    ['the largest', 2 ** 48 - 1],
  ])('does not believe %s', (_, ms) => {
    expect(sentAtMsOf(newSendUuid('task', ms))).toBeUndefined();
  });

  const uuid = newSendUuid('task', timeMs);
  it.each([
    ['version 4', newUuid('task')],
    ['version 7', `${uuid.slice(0, 19)}7${uuid.slice(20)}`],
    ['another variant', `${uuid.slice(0, 24)}c${uuid.slice(25)}`],
    ['upper case', `task_${uuid.slice(5).toUpperCase()}`],
    ['no kind', uuid.slice(4)],
    ['no prefix', uuid.slice(5)],
    ['two kinds', `my_${uuid}`],
    ['more behind it', `${uuid}0`],
    ['a line behind it', `${uuid}\n`],
    ['less', uuid.slice(0, -1)],
    ["a user's text", 'order 17'],
    ['nothing', ''],
  ])('is undefined for %s', (_, text) => {
    expect(sentAtMsOf(text)).toBeUndefined();
  });
});

describe('sentAtOf', () => {
  const uuid = newSendUuid('task', timeMs);
  const header = '2026-11-21T08:00:00.123456789Z';

  it('is the header, else the time in the UUID as it stands in states, else nothing', () => {
    expect(sentAtOf({ uuid, headers: { 'machinery-sent-at': header } })).toBe(header);
    expect(sentAtOf({ uuid: 'mine', headers: { 'machinery-sent-at': header } })).toBe(header);
    expect(sentAtOf({ uuid, headers: { other: 'x' } })).toBe('2024-02-29T12:00:00.123Z');
    expect(sentAtOf({ uuid: newSendUuid('task', timeMs + 7) })).toBe('2024-02-29T12:00:00.13Z');
    expect(sentAtOf({ uuid: newSendUuid('task', timeMs - 123) })).toBe('2024-02-29T12:00:00Z');
    expect([sentAtOf({ uuid: newUuid('task') }), sentAtOf({ uuid: 'mine' }), sentAtOf({})]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it.each([['yesterday'], [17], [null]])('does not look at a header that is no time (%s)', (value) => {
    const headers = { 'machinery-sent-at': value };
    expect(sentAtOf({ uuid, headers })).toBe('2024-02-29T12:00:00.123Z');
    expect(sentAtOf({ uuid: 'mine', headers })).toBeUndefined();
  });
});
