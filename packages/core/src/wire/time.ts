// Times as Go writes them in JSON: RFC 3339 with up to nine fractional digits, of which JavaScript's Date holds three.
// Neighbours: the codecs, and whoever waits for an ETA (`etaMs`). Invariant: no digit of a time that is only passed on is
// lost, and nothing runs before its time.

import { MachineryError } from '../errors.ts';

/** An option that is a time. */
export function timeCheck(value: unknown): string | undefined {
  try {
    encodeTime(value as Date | string);
    return undefined;
  } catch {
    return 'a valid Date or RFC 3339 text';
  }
}

/** Times that need no look at the calendar, in the form that Go writes: nearly all that come by. */
const goUtcTime =
  /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{0,8}[1-9])?Z$/;
const rfc3339 =
  /^(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d+))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))$/;

/** RFC 3339 has four digits for the year. Unix milliseconds; what lies beyond waits till then. */
export const lastTimeMs = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/** Go's zero time, which stands for none. */
export const zeroTime = '0001-01-01T00:00:00Z';

interface ParsedTime {
  /** Unix milliseconds of the whole second. */
  readonly secondMs: number;
  /** All digits behind the second, as written. */
  readonly fraction: string;
  readonly isUtc: boolean;
}

function parseTime(text: string): ParsedTime | undefined {
  const match = rfc3339.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction = '', sign, offsetHour, offsetMinute] = match;
  const localMs = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  // Date.parse takes a 30th of February for a day in March.
  if (!(new Date(localMs).getUTCDate() === Number(day))) return undefined;
  if (sign === undefined) return { secondMs: localMs, fraction, isUtc: true };
  const offsetMs = (Number(offsetHour) * 60 + Number(offsetMinute)) * 60_000;
  return { secondMs: sign === '+' ? localMs - offsetMs : localMs + offsetMs, fraction, isUtc: false };
}

function writeSecond(secondMs: number): string | undefined {
  const text = new Date(secondMs).toISOString();
  // Years before 0 and after 9999 have a sign and six digits.
  return text.length === 24 ? text.slice(0, 19) : undefined;
}

/** RFC 3339 text in UTC with all its fractional digits: the same text when it is in UTC already; undefined when it is no time. */
export function toUtcText(text: string): string | undefined {
  if (goUtcTime.test(text)) return text;
  const time = parseTime(text);
  if (time === undefined || time.isUtc) return time && text;
  const second = writeSecond(time.secondMs);
  return second && `${second}${time.fraction === '' ? '' : `.${time.fraction}`}Z`;
}

/** A time as Go writes it: UTC, at most nine fractional digits, none of them a trailing zero. */
export function encodeTime(time: Date | string): string {
  if (typeof time === 'string') {
    if (goUtcTime.test(time)) return time;
    const parsed = parseTime(time);
    const second = parsed && writeSecond(parsed.secondMs);
    if (parsed === undefined || second === undefined) throw notATime(time);
    return writeTime(second, parsed.fraction.slice(0, 9));
  }
  const ms = time.getTime();
  const second = Number.isNaN(ms) ? undefined : writeSecond(ms);
  if (second === undefined) throw notATime(time);
  return writeTime(second, time.toISOString().slice(20, 23));
}

function writeTime(second: string, fraction: string): string {
  const digits = fraction.replace(/0+$/, '');
  return digits === '' ? `${second}Z` : `${second}.${digits}Z`;
}

/** Unix milliseconds, rounded up where the time has finer digits: never early. */
export function etaMs(eta: Date | string): number {
  if (typeof eta !== 'string') {
    const ms = eta.getTime();
    if (Number.isNaN(ms)) throw notATime(eta);
    return ms;
  }
  const time = parseTime(eta);
  if (time === undefined) throw notATime(eta);
  const ms = time.secondMs + Number(time.fraction.slice(0, 3).padEnd(3, '0'));
  return /[1-9]/.test(time.fraction.slice(3)) ? ms + 1 : ms;
}

function notATime(time: Date | string): MachineryError {
  const found = typeof time === 'string' ? `\`${time.slice(0, 100)}\`` : String(time);
  return new MachineryError(
    'ERR_MACHINERY_INVALID_ARGUMENT',
    `Expected a time: a valid Date or RFC 3339 text such as 2026-11-21T08:00:00.5Z of the years 0000 to 9999, got ${found}`,
  );
}
