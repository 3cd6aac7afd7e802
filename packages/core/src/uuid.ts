// UUIDs of tasks and groups, named as Go's. Those that one process makes begin alike: a backend can tell whoever waits for
// any of them on one channel.

import { createHash, randomBytes, randomFillSync, randomUUID } from 'node:crypto';

const processPart = randomBytes(4).toString('hex');

/** `<kind>_<uuid v4>`. The first 8 digits are this process's, the other 22 random. */
export function newUuid(kind: string): string {
  return `${kind}_${processPart}${randomUUID().slice(8)}`;
}

const bits20 = 2 ** 20;
/** Drawn together, which costs less. */
const randoms = new Uint32Array(256);
let drawn = randoms.length;
/** Of the last millisecond: its digits as they stand in a UUID, and the 42 bits behind them as 22 and 20. */
const last = { ms: Number.NaN, start: '', end: '', high: 0, low: 0 };

/**
 * `<kind>_pppppppp-tttt-8ttt-vttt-ttrrrrrrrrrr`: a UUID of version 8 that holds when the task is sent. p: this process's
 * digits; t: Unix milliseconds; v, r: 42 bits that are random for each millisecond. Within one they grow by random steps,
 * as drawing anew might now and then draw the same: four million fit in.
 */
export function newSendUuid(kind: string, sentAtMs: number): string {
  const ms = Math.trunc(sentAtMs);
  if (ms === last.ms) {
    last.low += 1 + (random() >>> 12);
    if (last.low >= bits20) {
      last.low -= bits20;
      last.high = (last.high + 1) % (4 * bits20);
    }
  } else {
    const first = Math.floor(ms / bits20)
      .toString(16)
      .padStart(7, '0');
    const rest = fiveDigits(ms);
    last.ms = ms;
    last.start = `_${processPart}-${first.slice(0, 4)}-8${first.slice(4)}-`;
    last.end = `${rest.slice(0, 3)}-${rest.slice(3)}`;
    last.high = random() >>> 10;
    last.low = random() >>> 12;
  }
  const { start, end, high, low } = last;
  return `${kind}${start}${'89ab'[high >>> 20]}${end}${fiveDigits(high)}${fiveDigits(low)}`;
}

function random(): number {
  if (drawn === randoms.length) {
    randomFillSync(randoms);
    drawn = 0;
  }
  return randoms[drawn++] as number;
}

/** The lower 20 bits. */
function fiveDigits(bits: number): string {
  return ((bits % bits20) + bits20).toString(16).slice(1);
}

const sendUuid = /^[A-Za-z]+_[0-9a-f]{8}-([0-9a-f]{4})-8([0-9a-f]{3})-[89ab]([0-9a-f]{3})-([0-9a-f]{2})[0-9a-f]{10}$/;
const firstSendMs = Date.UTC(2020);
const dayMs = 86_400_000;

/** When the task was sent, in Unix milliseconds, when its UUID is one of `newSendUuid`; undefined for any other text. */
export function sentAtMsOf(uuid: string): number | undefined {
  const ms = isOfLastMs(uuid) ? last.ms : msIn(uuid);
  return ms !== undefined && isSendTime(ms) ? ms : undefined;
}

function msIn(uuid: string): number | undefined {
  const match = sendUuid.exec(uuid);
  if (match === null) return undefined;
  const [, first = '', second = '', third = '', fourth = ''] = match;
  return Number.parseInt(first + second + third + fourth, 16);
}

/** Whether this process has just made it: a sender asks so at once. */
function isOfLastMs(uuid: string): boolean {
  const { start, end } = last;
  const at = uuid.indexOf('_'); // a digit lies between the two
  return (
    start !== '' && uuid.length === at + 37 && uuid.startsWith(start, at) && uuid.startsWith(end, at + start.length + 1)
  );
}

/** Whether `sentAtMsOf` believes a time: what others make of version 8 mostly looks like another one. */
export function isSendTime(ms: number): boolean {
  return ms >= firstSendMs && ms <= Date.now() + dayMs;
}

/** The same follow-up of the same task always gets the same UUID, so that a redelivery finds what it sent before. */
export function derivedUuid(place: string): string {
  const hash = createHash('sha256').update(place).digest('hex');
  return `task_${hash.slice(0, 8)}-${hash.slice(8, 12)}-8${hash.slice(13, 16)}-a${hash.slice(17, 20)}-${hash.slice(20, 32)}`;
}
