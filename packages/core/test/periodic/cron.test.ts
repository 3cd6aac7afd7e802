// Cron specs against what Go's parser printed (interop/vectors), and what no vector tells.

import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { parseCron } from '../../src/cron.ts';
import { MachineryError } from '../../src/errors.ts';
import { thrownBy } from '../server/setup.ts';
import { readVectors } from '../wire/vectors.ts';
import { runProgramAt } from '../worker/child-program.ts';
import { setTimeZone } from './time-zone.ts';

/** What Go made of a spec, the process in UTC: up to five times, or why it refuses it. */
interface Vector {
  readonly Spec: string;
  readonly From: string;
  readonly Next?: readonly string[];
  readonly Error?: string;
}

const zoneVectors = readVectors<Vector[]>('cron-zones');
const files = [
  { name: 'cron', vectors: readVectors<Vector[]>('cron') },
  { name: 'cron-specs', vectors: readVectors<Vector[]>('cron-specs') },
];

/** Specs that Go reads and we refuse, with the reason. */
const refusedByUsOnly: Readonly<Record<string, string>> = {
  '0 0 * * FRİ': "Go's ToLower makes an i of İ (U+0130), JavaScript's an i and a dot above",
};

/** Go's texts that ours are not compared with, and why. */
const ownTexts: readonly (readonly [RegExp, string])[] = [
  [/^panic: /, 'Go panics, where we say what is missing'],
  [/^failed to parse duration /, 'time.ParseDuration has its own words'],
  [/^negative number \(/, 'ours does not repeat the number'],
  [/\(9223372036854775807\)/, 'ours rounds the number'],
];
/** The same by their specs. */
const ownTextsOf: Readonly<Record<string, string>> = {
  '-1-5 * * * *': 'ours counts the hyphens before it reads the numbers',
};

beforeEach(() => setTimeZone('UTC'));

const at = (text: string) => Date.parse(text.replace(/(\.\d{3})\d+Z$/, '$1Z'));
const text = (time: number) => new Date(time).toISOString().replace('.000Z', 'Z');

/** What this process has used so far: it does not count that others are busy. */
const cpuMs = () => process.cpuUsage().user / 1_000;

/** The next five times, fewer when there are no more. */
function nextTimes(spec: string, from: string): string[] {
  const schedule = parseCron(spec);
  const times: string[] = [];
  for (let time = schedule.next(at(from)); time !== undefined && times.length < 5; time = schedule.next(time))
    times.push(text(time));
  return times;
}

/** Where our times are others than Go's; `write` turns the spec of a vector into the one that is read. */
function differences(vectors: readonly Vector[], write = (spec: string) => spec): unknown[] {
  const found: unknown[] = [];
  for (const { Spec, From, Next } of vectors) {
    if (Next === undefined || Object.hasOwn(refusedByUsOnly, Spec)) continue;
    let ours: unknown;
    try {
      ours = nextTimes(write(Spec), From);
    } catch (error) {
      ours = error;
    }
    if (JSON.stringify(ours) !== JSON.stringify(Next)) found.push({ Spec, From, Next, ours });
  }
  return found;
}

/** Go's text as far as ours repeats it: not what its libraries add. */
const comparable = (goText: string) =>
  goText.replace(/: strconv\..*$/s, '').replace(/^(provided bad location .*): (?:unknown time zone|time: ).*$/s, '$1');

describe('the times are those of Go', () => {
  it.each(files)('in $name', ({ vectors }) => {
    expect(vectors.filter(({ Next }) => Next !== undefined).length).toBeGreaterThan(80);
    expect(vectors.filter((vector) => vector.Error !== undefined).length).toBeGreaterThan(40);
    expect(differences(vectors)).toEqual([]);
  });

  const zoned = /^(?:CRON_)?TZ=(\S+) /;
  const zones = new Map<string, Vector[]>();
  for (const vector of zoneVectors) {
    const zone = zoned.exec(vector.Spec)?.[1] as string;
    zones.set(zone, [...(zones.get(zone) ?? []), vector]);
  }

  it.each([...zones])('in %s', (_, vectors) => {
    expect(vectors.length).toBeGreaterThan(30);
    expect(differences(vectors)).toEqual([]);
  });

  it.each([...zones])('in %s as the zone of the process', (zone, vectors) => {
    setTimeZone(zone);
    expect(differences(vectors, (spec) => spec.replace(zoned, ''))).toEqual([]);
    expect(differences(vectors, (spec) => spec.replace(zoned, 'CRON_TZ=Local '))).toEqual([]);
  });
});

describe('what Go refuses is an error', () => {
  it.each(files)('in $name, which names the spec and says what Go says', async ({ vectors }) => {
    const found: unknown[] = [];
    for (const { Spec, Error: goText } of vectors) {
      if (goText === undefined) continue;
      const error = await thrownBy(() => parseCron(Spec)).catch((accepted) => accepted);
      const beginning = `\`${Spec}\` is no cron spec: `;
      const isRefusal = MachineryError.is(error, 'ERR_MACHINERY_INVALID_OPTION') && error.message.startsWith(beginning);
      const isOwnText = Object.hasOwn(ownTextsOf, Spec) || ownTexts.some(([form]) => form.test(goText));
      const saysTheSame =
        isRefusal && (isOwnText || error.message.slice(beginning.length).startsWith(comparable(goText)));
      if (!saysTheSame) found.push({ Spec, goText, error });
    }
    expect(found).toEqual([]);
  });

  it('and what we alone refuse is what the exceptions list', async () => {
    for (const spec of Object.keys(refusedByUsOnly)) {
      expect(files.some(({ vectors }) => vectors.some(({ Spec, Next }) => Spec === spec && Next !== undefined))).toBe(
        true,
      );
      expect(await thrownBy(() => parseCron(spec))).toMatchObject({ code: 'ERR_MACHINERY_INVALID_OPTION' });
    }
  });

  it.each([
    ['60 * * * *', '`60 * * * *` is no cron spec: end of range (60) above maximum (59): 60 (minute: 0 to 59)'],
    [
      '* * * *',
      '`* * * *` is no cron spec: expected exactly 5 fields, found 4: [* * * *] (minute, hour, day of month, month, day of week)',
    ],
    [
      '0 0 * * 7',
      '`0 0 * * 7` is no cron spec: end of range (7) above maximum (6): 7 (day of week: 0 to 6 or sun to sat)',
    ],
    [
      '0 0 * * MONDAY',
      '`0 0 * * MONDAY` is no cron spec: failed to parse int from MONDAY (day of week: 0 to 6 or sun to sat)',
    ],
    ['', '`` is no cron spec: empty spec string'],
    ['*/0 * * * *', '`*/0 * * * *` is no cron spec: step of range should be a positive number: */0 (minute: 0 to 59)'],
    ['@every 5', '`@every 5` is no cron spec: invalid duration: 5'],
    ['@every 1d', '`@every 1d` is no cron spec: unknown unit d in duration 1d'],
    ['@every 3000000h', '`@every 3000000h` is no cron spec: invalid duration: 3000000h is too long'],
    ['TZ=UTC', '`TZ=UTC` is no cron spec: expected a blank and a schedule after the time zone'],
    [
      'TZ=europe/Berlin @daily',
      '`TZ=europe/Berlin @daily` is no cron spec: provided bad location europe/Berlin: unknown time zone europe/Berlin',
    ],
    [
      'TZ=Europe/BERLIN @daily',
      '`TZ=Europe/BERLIN @daily` is no cron spec: provided bad location Europe/BERLIN: unknown time zone Europe/BERLIN: it is spelled Europe/Berlin',
    ],
    ['TZ=PST @daily', '`TZ=PST @daily` is no cron spec: provided bad location PST: unknown time zone PST'],
    ['TZ=+01:00 @daily', '`TZ=+01:00 @daily` is no cron spec: provided bad location +01:00: unknown time zone +01:00'],
  ])('%j, in full', async (spec, message) => {
    expect(await thrownBy(() => parseCron(spec))).toMatchObject({ code: 'ERR_MACHINERY_INVALID_OPTION', message });
  });
});

describe('a spec without a time zone', () => {
  it('means the zone of the process', () => {
    setTimeZone('America/New_York');
    expect(nextTimes('0 6 * * *', '2027-03-13T12:00:00Z').slice(0, 2)).toEqual([
      '2027-03-14T10:00:00Z', // the clocks have changed that night
      '2027-03-15T10:00:00Z',
    ]);
  });

  it('means UTC after TZ= without a name', () => {
    setTimeZone('America/New_York');
    expect(nextTimes('CRON_TZ= 0 6 * * *', '2027-03-13T12:00:00Z')[0]).toBe('2027-03-14T06:00:00Z');
    expect(nextTimes('TZ=UTC 0 6 * * *', '2027-03-13T12:00:00Z')[0]).toBe('2027-03-14T06:00:00Z');
  });
});

describe('the next time', () => {
  it('is after the given one, even when that is a tick itself', () => {
    const schedule = parseCron('* * * * *');
    expect(schedule.next(at('2026-11-21T08:00:00Z'))).toBe(at('2026-11-21T08:01:00Z'));
    expect(schedule.next(at('2026-11-21T08:00:59.999Z'))).toBe(at('2026-11-21T08:01:00Z'));
    expect(schedule.next(at('2026-11-21T07:59:59.999Z'))).toBe(at('2026-11-21T08:00:00Z'));
  });

  it('of `@every` counts whole seconds from the given one', () => {
    const schedule = parseCron('@every 90s');
    expect(schedule.next(at('2026-11-21T08:00:00Z'))).toBe(at('2026-11-21T08:01:30Z'));
    expect(schedule.next(at('2026-11-21T08:00:00.999Z'))).toBe(at('2026-11-21T08:01:30Z'));
  });

  it('of `@every` takes any number of digits, and rounds them as Go does', () => {
    const from = at('2026-11-21T08:00:00Z');
    for (const [duration, seconds] of [
      [`1.${'5'.repeat(400)}s`, 1],
      [`0.${'0'.repeat(400)}1h`, 1],
      [`0.${'3'.repeat(400)}h`, 1_200],
    ] as const)
      expect(parseCron(`@every ${duration}`).next(from)).toBe(from + seconds * 1_000);
  });

  it('of a descriptor after a time zone does not mind what Go takes for blanks around it', async () => {
    const from = '2026-11-21T08:00:00Z';
    expect(nextTimes('TZ=UTC \u0085\u00a0@daily\t\u2003\u0085', from)[0]).toBe('2026-11-22T00:00:00Z');
    expect(await thrownBy(() => parseCron('TZ=UTC @daily\ufeff'))).toMatchObject({
      message:
        '`TZ=UTC @daily\ufeff` is no cron spec: unrecognized descriptor: @daily\ufeff, known are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, @every',
    });
  });

  it('in UTC is the first minute whose fields match, for any spec', () => {
    const field = (min: number, max: number) => {
      const between = (low: number, high: number, step = 1) =>
        Array.from({ length: max + 1 }, (_, value) => value >= low && value <= high && (value - low) % step === 0);
      const value = fc.integer({ min, max });
      return fc.oneof(
        fc.constant({ text: '*', isAny: true, isDue: between(min, max) }),
        fc
          .integer({ min: 1, max: max - min })
          .map((step) => ({ text: `*/${step}`, isAny: step === 1, isDue: between(min, max, step) })),
        fc
          .tuple(value, value)
          .map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)
          .map(([low, high]) => ({ text: `${low}-${high}`, isAny: false, isDue: between(low, high) })),
        fc.uniqueArray(value, { minLength: 1, maxLength: 3 }).map((values) => ({
          text: `${values}`,
          isAny: false,
          isDue: between(min, max).map((_, i) => values.includes(i)),
        })),
      );
    };
    const specs = fc.tuple(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6));
    const start = at('2026-01-01T00:00:00Z');
    const froms = fc.integer({ min: 0, max: 3 * 365 * 86_400_000 }).map((offset) => start + offset);
    fc.assert(
      fc.property(specs, froms, ([minute, hour, dayOfMonth, month, dayOfWeek], from) => {
        const isDue = (time: number) => {
          const date = new Date(time);
          const inMonth = dayOfMonth.isDue[date.getUTCDate()];
          const inWeek = dayOfWeek.isDue[date.getUTCDay()];
          return (
            minute.isDue[date.getUTCMinutes()] &&
            hour.isDue[date.getUTCHours()] &&
            month.isDue[date.getUTCMonth() + 1] &&
            (dayOfMonth.isAny || dayOfWeek.isAny ? inMonth && inWeek : inMonth || inWeek)
          );
        };
        const spec = [minute, hour, dayOfMonth, month, dayOfWeek].map((field) => field.text).join(' ');
        const next = parseCron(spec).next(from) ?? Number.POSITIVE_INFINITY;
        const lookedAtUntil = Math.min(next, from + 40 * 86_400_000);
        for (let time = (Math.floor(from / 60_000) + 1) * 60_000; time < lookedAtUntil; time += 60_000)
          if (isDue(time)) return false;
        return next === Number.POSITIVE_INFINITY || (isDue(next) && next % 60_000 === 0 && next > from);
      }),
      { numRuns: 100 },
    );
  });

  it.each(['0 0 30 2 *', '0 0 31 4,6,9,11 *', 'CRON_TZ=Europe/Berlin 0 0 31 2 *', '0 0 29 2 *'])(
    'of %s, which does not come in five years, is undefined',
    (spec) => {
      expect(parseCron(spec).next(at('2096-03-01T00:00:00Z'))).toBeUndefined();
    },
  );

  it.each([', * * * *', '* , * * *', '* * , * *', '* * * , *', '* * * * ,'])(
    'of %s, which has an empty field, is undefined, and that is found out at once',
    (spec) => {
      const schedule = parseCron(`CRON_TZ=Europe/Berlin ${spec}`);
      const usedMs = cpuMs();
      expect(schedule.next(at('2026-11-21T08:00:00Z'))).toBeUndefined();
      expect(cpuMs() - usedMs).toBeLessThan(1_000);
    },
  );

  it('is found a thousand times in well under a second, in another time zone too', () => {
    const schedule = parseCron('CRON_TZ=Europe/Berlin 0 6 * * mon');
    const usedMs = cpuMs();
    let time = at('2026-11-21T08:00:00Z');
    for (let i = 0; i < 1_000; i++) time = schedule.next(time) as number;
    expect(cpuMs() - usedMs).toBeLessThan(1_000);
    expect(text(time)).toBe('2046-01-15T05:00:00Z');
  });
});

// Samoa left out 30 December 2011. Go never returns from looking for these.
describe('the next time of a zone that left out a day', () => {
  it.each([
    ['0 0 31 * *', '2011-12-30T10:00:00Z'],
    ['0 0 30 * *', '2012-01-29T10:00:00Z'],
    ['0 0 * * fri', '2012-01-05T10:00:00Z'],
    ['0 12 31 12 *', '2011-12-30T22:00:00Z'],
  ])('of %s is found on the other side', async (spec, next) => {
    const program = new URL('programs/next.mjs', import.meta.url);
    const { lines, exit } = runProgramAt(program, `CRON_TZ=Pacific/Apia ${spec}`, '2011-12-29T11:00:00Z');
    await Promise.race([exit, new Promise((resolve) => setTimeout(resolve, 4_000).unref())]);
    expect(lines.items).toEqual([next]);
  });
});
