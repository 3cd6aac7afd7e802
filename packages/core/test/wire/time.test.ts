import { describe, expect, it } from 'vitest';
import { encodeTime, etaMs, toUtcText } from '../../src/wire/time.ts';

const invalidArgument = expect.objectContaining({ code: 'ERR_MACHINERY_INVALID_ARGUMENT' });
const base = Date.parse('2026-11-21T08:00:00Z');

const notTimes = [
  '',
  'x',
  '2026-11-21',
  '2026-11-21T08:00Z',
  '2026-11-21T08:00:00',
  '2026-11-21t08:00:00z',
  '2026-02-30T08:00:00Z',
  '2026-02-29T08:00:00Z',
  '2026-13-01T08:00:00Z',
  '2026-11-00T08:00:00Z',
  '2026-11-21T24:00:00Z',
  '2026-11-21T08:00:60Z',
  '2026-11-21T08:60:00Z',
  '2026-11-21T08:00:00.Z',
  '2026-11-21T08:00:00+24:00',
  '2026-11-21T08:00:00+0200',
  '+02026-11-21T08:00:00Z',
  '2026-11-21T08:00:00Z\n',
];

describe('encodeTime', () => {
  it.each([
    ['2026-11-21T08:00:00.123Z', '2026-11-21T08:00:00.123Z'],
    ['2026-11-21T08:00:00.120Z', '2026-11-21T08:00:00.12Z'],
    ['2026-11-21T08:00:00.000Z', '2026-11-21T08:00:00Z'],
    ['2026-11-21T08:00:00.123456789Z', '2026-11-21T08:00:00.123456789Z'],
    ['2026-11-21T08:00:00.1234567891Z', '2026-11-21T08:00:00.123456789Z'],
    ['2026-11-21T08:00:00.000000000000001Z', '2026-11-21T08:00:00Z'],
    ['2026-11-21T01:00:00.5+02:30', '2026-11-20T22:30:00.5Z'],
    ['2026-12-31T23:00:00-02:00', '2027-01-01T01:00:00Z'],
    ['2028-02-29T00:00:00Z', '2028-02-29T00:00:00Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00Z'],
    ['0000-01-01T00:00:00Z', '0000-01-01T00:00:00Z'],
  ])('writes %s as %s', (time, expected) => {
    expect(encodeTime(time)).toBe(expected);
  });

  it('writes a Date with no more digits than it has', () => {
    expect(encodeTime(new Date(base + 120))).toBe('2026-11-21T08:00:00.12Z');
    expect(encodeTime(new Date(base))).toBe('2026-11-21T08:00:00Z');
  });

  it.each([...notTimes, '0000-01-01T00:00:00+01:00', '9999-12-31T23:59:59-01:00'])('refuses %j', (time) => {
    expect(() => encodeTime(time)).toThrow(invalidArgument);
  });

  it('refuses an invalid Date and one whose year Go cannot write', () => {
    for (const date of [new Date(Number.NaN), new Date(8.64e15), new Date(-8.64e15)]) {
      expect(() => encodeTime(date)).toThrow(invalidArgument);
    }
  });
});

describe('toUtcText', () => {
  it('keeps a text that is in UTC as it is, and all digits of one that is not', () => {
    expect(toUtcText('2026-11-21T08:00:00.1200Z')).toBe('2026-11-21T08:00:00.1200Z');
    expect(toUtcText('2026-11-21T08:00:00.12345678900+01:00')).toBe('2026-11-21T07:00:00.12345678900Z');
    expect(toUtcText('2026-11-21T08:00:00-00:00')).toBe('2026-11-21T08:00:00Z');
  });

  it.each(notTimes)('knows that %j is no time', (text) => {
    expect(toUtcText(text)).toBeUndefined();
  });
});

describe('etaMs', () => {
  it.each([
    ['2026-11-21T08:00:00Z', 0],
    ['2026-11-21T08:00:00.5Z', 500],
    ['2026-11-21T08:00:00.123Z', 123],
    ['2026-11-21T08:00:00.123000000Z', 123],
    ['2026-11-21T08:00:00.123000001Z', 124],
    ['2026-11-21T08:00:00.9999Z', 1_000],
    ['2026-11-21T09:30:00.0001+01:30', 1],
  ])('is never before %s', (eta, expected) => {
    expect(etaMs(eta) - base).toBe(expected);
  });

  it('takes a Date and refuses what is no time', () => {
    expect(etaMs(new Date(base + 7))).toBe(base + 7);
    expect(() => etaMs(new Date(Number.NaN))).toThrow(invalidArgument);
    expect(() => etaMs('tomorrow')).toThrow(invalidArgument);
  });
});
