// Cron specs as Go's schedulers read them: the standard parser of robfig/cron v3, with its refusals and its times. What it
// accepts, and when it fires around a change of the clocks, is part of the wire: a Go scheduler and one of ours that share
// a lock must agree on every tick. `periodic.ts` waits for these times. Pure.

import { invalidOption } from './options.ts';

/** When something is due. */
export interface Schedule {
  /** The first time after `after`, both in Unix milliseconds; undefined when there is none in the next five years. */
  next(after: number): number | undefined;
}

interface Field {
  readonly values: ReadonlySet<number>;
  /** Whether it was written as `*` or `?`. */
  readonly any: boolean;
}

interface Bounds {
  readonly field: string;
  readonly min: number;
  readonly max: number;
  /** Names of the numbers from `min` on. */
  readonly names?: readonly string[];
}

const minutes: Bounds = { field: 'minute', min: 0, max: 59 };
const hours: Bounds = { field: 'hour', min: 0, max: 23 };
const daysOfMonth: Bounds = { field: 'day of month', min: 1, max: 31 };
const months: Bounds = {
  field: 'month',
  min: 1,
  max: 12,
  names: 'jan feb mar apr may jun jul aug sep oct nov dec'.split(' '),
};
const daysOfWeek: Bounds = { field: 'day of week', min: 0, max: 6, names: 'sun mon tue wed thu fri sat'.split(' ') };

const descriptors: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

/** Go: unicode.IsSpace. */
const blank = '[\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+';
const blanks = new RegExp(blank);
const blanksAtEnds = new RegExp(`^${blank}|${blank}$`, 'g');

/**
 * Reads a spec: `minute hour day-of-month month day-of-week`, a descriptor such as `@daily`, or `@every 1h30m`; with a time
 * zone in front as `CRON_TZ=Europe/Berlin `, without one in the process's own.
 * @throws MachineryError ERR_MACHINERY_INVALID_OPTION for what Go refuses.
 */
export function parseCron(spec: string): Schedule {
  if (spec === '') throw refused(spec, 'empty spec string');
  const zoned = /^(?:CRON_)?TZ=([^ ]*)( .*)?$/s.exec(spec);
  if (zoned === null) return parseTimes(spec, spec, localZone);
  const [, name = '', times] = zoned;
  if (times === undefined) throw refused(spec, 'expected a blank and a schedule after the time zone');
  return parseTimes(spec, times.replace(blanksAtEnds, ''), zoneOf(spec, name));
}

function parseTimes(spec: string, times: string, zone: Zone): Schedule {
  if (times.startsWith('@every ')) return every(durationSeconds(spec, times.slice('@every '.length)));
  if (times.startsWith('@') && !Object.hasOwn(descriptors, times))
    throw refused(spec, `unrecognized descriptor: ${times}, known are ${Object.keys(descriptors).join(', ')}, @every`);
  const fields = (descriptors[times] ?? times).split(blanks).filter((field) => field !== '');
  if (fields.length !== 5)
    throw refused(
      spec,
      `expected exactly 5 fields, found ${fields.length}: [${fields.join(' ')}] (minute, hour, day of month, month, day of week)`,
    );
  const [minute, hour, dayOfMonth, month, dayOfWeek] = fields as [string, string, string, string, string];
  return new Times(zone, {
    minute: parseField(spec, minute, minutes),
    hour: parseField(spec, hour, hours),
    dayOfMonth: parseField(spec, dayOfMonth, daysOfMonth),
    month: parseField(spec, month, months),
    dayOfWeek: parseField(spec, dayOfWeek, daysOfWeek),
  });
}

function parseField(spec: string, text: string, bounds: Bounds): Field {
  const values = new Set<number>();
  let any = false;
  for (const range of text.split(',')) {
    if (range === '') continue; // Go skips it
    const { start, end, step, star } = parseRange(range, bounds, (why) => refused(spec, `${why} (${rangeOf(bounds)})`));
    for (let value = start; value <= end; value += step) values.add(value);
    any ||= star;
  }
  return { values, any };
}

/** @param wrong makes the error of what is wrong. */
function parseRange(range: string, bounds: Bounds, wrong: (why: string) => Error) {
  const [lowAndHigh, stepText, ...moreSlashes] = range.split('/') as [string, ...string[]];
  const [low, high, ...moreHyphens] = lowAndHigh.split('-') as [string, ...string[]];
  const isStar = low === '*' || low === '?'; // Go does not look at what comes after a hyphen then
  if (!isStar && moreHyphens.length > 0) throw wrong(`too many hyphens: ${range}`);
  if (moreSlashes.length > 0) throw wrong(`too many slashes: ${range}`);
  const start = isStar ? bounds.min : parseNumber(low, wrong, bounds.names);
  let end = bounds.max; // `5/15` is `5-59/15`
  if (!isStar && high !== undefined) end = parseNumber(high, wrong, bounds.names);
  else if (!isStar && stepText === undefined) end = start;
  const step = stepText === undefined ? 1 : parseNumber(stepText, wrong);
  if (start < bounds.min) throw wrong(`beginning of range (${start}) below minimum (${bounds.min}): ${range}`);
  if (end > bounds.max) throw wrong(`end of range (${end}) above maximum (${bounds.max}): ${range}`);
  if (start > end) throw wrong(`beginning of range (${start}) beyond end of range (${end}): ${range}`);
  if (step === 0) throw wrong(`step of range should be a positive number: ${range}`);
  return { start, end, step, star: isStar && step === 1 };
}

/** Go: strconv.Atoi, which takes a sign. */
function parseNumber(text: string, wrong: (why: string) => Error, names: readonly string[] = []): number {
  const place = names.indexOf(text.toLowerCase());
  if (place >= 0) return place + (names.length === 12 ? 1 : 0);
  const [, sign, digits = ''] = /^([+-]?)(\d+)$/.exec(text) ?? [];
  if (digits === '' || BigInt(digits) >= 2n ** 63n) throw wrong(`failed to parse int from ${text}`);
  if (sign === '-' && Number(digits) > 0) throw wrong(`negative number not allowed: ${text}`);
  return Number(digits);
}

/** What a field may hold. */
function rangeOf({ field, min, max, names = [] }: Bounds): string {
  return `${field}: ${min} to ${max}${names.length > 0 ? ` or ${names[0]} to ${names.at(-1)}` : ''}`;
}

const units: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n, // U+00B5
  μs: 1_000n, // U+03BC
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};

/** Go: time.ParseDuration, and then whole seconds, at least one. */
function durationSeconds(spec: string, text: string): number {
  const [, sign, amount = ''] = /^([+-]?)(.*)$/s.exec(text) as RegExpExecArray;
  if (amount === '0') return 1;
  if (!/^(?:(?:\d+\.?\d*|\.\d+)[^\d.]+)+$/.test(amount)) throw refused(spec, `invalid duration: ${text}`);
  let nanoseconds = 0n;
  for (const [, whole = '', fraction = '', unit = ''] of amount.matchAll(/(\d*)\.?(\d*)([^\d.]+)/g)) {
    const size = Object.hasOwn(units, unit) ? (units[unit] as bigint) : undefined;
    if (size === undefined) throw refused(spec, `unknown unit ${unit} in duration ${text}`);
    const digits = fraction.slice(0, 19); // Go ignores those beyond 64 bits, and computes the rest in float64
    nanoseconds += BigInt(whole) * size + BigInt(Math.trunc(Number(digits) * (Number(size) / 10 ** digits.length)));
  }
  if (nanoseconds > 2n ** 63n - (sign === '-' ? 0n : 1n)) throw refused(spec, `invalid duration: ${text} is too long`);
  return sign === '-' ? 1 : Math.max(1, Number(nanoseconds / 1_000_000_000n));
}

/** Go: counts from when it is asked, in whole seconds. */
function every(seconds: number): Schedule {
  return { next: (after) => Math.floor(after / 1_000) * 1_000 + seconds * 1_000 };
}

const minuteMs = 60_000;
const hourMs = 3_600_000;

/** The times of five fields, found as Go finds them: a field that does not match goes up until it does, and what is below it starts over. */
class Times implements Schedule {
  readonly #zone: Zone;
  readonly #fields: Readonly<Record<'minute' | 'hour' | 'dayOfMonth' | 'month' | 'dayOfWeek', Field>>;

  constructor(zone: Zone, fields: Readonly<Record<'minute' | 'hour' | 'dayOfMonth' | 'month' | 'dayOfWeek', Field>>) {
    this.#zone = zone;
    this.#fields = fields;
  }

  next(after: number): number | undefined {
    const { minute, hour, month } = this.#fields;
    if (minute.values.size * hour.values.size * month.values.size === 0) return undefined; // Go looks through all the years
    const zone = this.#zone;
    let time = Math.floor(after / 1_000) * 1_000 + 1_000;
    let wall = zone.wall(time);
    const yearLimit = wall.getUTCFullYear() + 5;
    const moveTo = (ms: number) => {
      time = ms;
      wall = zone.wall(time);
    };
    /** Whether what is below the field that moves was started over. */
    let fromStart = false;
    const startOver = (ms: () => number) => {
      if (!fromStart) moveTo(ms());
      fromStart = true;
    };
    const date = (addMonths = 0, addDays = 0) =>
      [wall.getUTCFullYear(), wall.getUTCMonth() + addMonths, wall.getUTCDate() + addDays] as const;
    const clock = () => [wall.getUTCHours(), wall.getUTCMinutes(), wall.getUTCSeconds()] as const;

    search: while (wall.getUTCFullYear() <= yearLimit) {
      while (!month.values.has(wall.getUTCMonth() + 1)) {
        startOver(() => zone.instant(wall.getUTCFullYear(), wall.getUTCMonth(), 1));
        moveTo(zone.instant(...date(1), ...clock()));
        if (wall.getUTCMonth() === 0) continue search;
      }
      while (!this.#dayMatches(wall)) {
        startOver(() => zone.instant(...date()));
        const before = time;
        moveTo(zone.instant(...date(0, 1), ...clock()));
        if (time <= before) moveTo(before + 24 * hourMs); // a day that a zone left out: Go would look for ever
        // Where the clocks change at midnight, there may be none.
        const late = wall.getUTCHours();
        if (late !== 0) moveTo(time + (late > 12 ? 24 - late : -late) * hourMs);
        if (wall.getUTCDate() === 1) continue search;
      }
      while (!hour.values.has(wall.getUTCHours())) {
        startOver(() => zone.instant(...date(), wall.getUTCHours()));
        moveTo(time + hourMs);
        if (wall.getUTCHours() === 0) continue search;
      }
      while (!minute.values.has(wall.getUTCMinutes())) {
        startOver(() => Math.floor(time / minuteMs) * minuteMs);
        moveTo(time + minuteMs);
        if (wall.getUTCMinutes() === 0) continue search;
      }
      if (time % minuteMs === 0) return time;
      fromStart = true;
      moveTo(Math.ceil(time / minuteMs) * minuteMs);
    }
    return undefined;
  }

  /** Both must match when one of them is `*`; otherwise one suffices. */
  #dayMatches(wall: Date): boolean {
    const { dayOfMonth, dayOfWeek } = this.#fields;
    const inMonth = dayOfMonth.values.has(wall.getUTCDate());
    const inWeek = dayOfWeek.values.has(wall.getUTCDay());
    return dayOfMonth.any || dayOfWeek.any ? inMonth && inWeek : inMonth || inWeek;
  }
}

/** A time zone. Its wall clock is a Date whose UTC fields are read. */
class Zone {
  readonly #offsetMs: (time: number) => number;

  /** @param offsetMs east of UTC at a time. */
  constructor(offsetMs: (time: number) => number) {
    this.#offsetMs = offsetMs;
  }

  wall(time: number): Date {
    return new Date(time + this.#offsetMs(time));
  }

  /** The time at which the wall clock shows this. Fields may be out of range, as in Date.UTC. Go: time.Date. */
  instant(year: number, month: number, day: number, hour = 0, minute = 0, second = 0): number {
    const wall = Date.UTC(year, month, day, hour, minute, second);
    // Two offsets are possible around a change of the clocks: Go takes the one of the first guess where it holds.
    return wall - this.#offsetMs(wall - this.#offsetMs(wall));
  }
}

const localZone = new Zone((time) => -new Date(time).getTimezoneOffset() * minuteMs);
const utc = new Zone(() => 0);

/** What V8 knows beyond the tz database. */
const abbreviations = new Set(
  'ACT AET AGT ART AST BET BST CAT CNT CST CTT EAT ECT IET IST JST MIT NET NST PLT PNT PRT PST SST VST'.split(' '),
);

/** Go: time.LoadLocation, which wants the spelling of the tz database. */
function zoneOf(spec: string, name: string): Zone {
  if (name === '' || name === 'UTC') return utc;
  if (name === 'Local') return localZone;
  const unknown = (hint = '') => refused(spec, `provided bad location ${name}: unknown time zone ${name}${hint}`);
  if (!name.split('/').every((part) => /^[A-Z]/.test(part)) || abbreviations.has(name)) throw unknown();
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: name,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
  } catch {
    throw unknown();
  }
  const { timeZone } = format.resolvedOptions();
  if (timeZone !== name && timeZone.toLowerCase() === name.toLowerCase()) throw unknown(`: it is spelled ${timeZone}`);
  return new Zone((time) => {
    const [month, day, year, hour, minute, second] = format.format(time).split(/\D+/).map(Number) as number[];
    const wall = Date.UTC(year as number, (month as number) - 1, day, hour, minute, second);
    return wall - Math.floor(time / 1_000) * 1_000;
  });
}

function refused(spec: string, why: string) {
  return invalidOption(`\`${spec}\` is no cron spec: ${why}`);
}
