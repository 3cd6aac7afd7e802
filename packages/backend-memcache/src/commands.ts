// The texts of memcached's commands, and what its replies mean. Reading is by the meta commands of 1.6, which say how long an item has
// left; writing is by the older ones, whose form never changed.

import { MachineryError } from '@machinery/core';
import type { Reply } from './connection.ts';
import type { Command } from './servers.ts';

/** An item that is there. */
export interface Item {
  readonly text: string;
  /** Changes with each write. */
  readonly cas: string;
}

/** How long an item has left, in seconds; undefined: for ever. */
export type SecondsLeft = number | undefined;

/** The longest key, in bytes. */
const maxKeyBytes = 250;
/** Beyond these, an expiry is taken for a Unix time. */
const maxRelativeSeconds = 30 * 24 * 3_600;
const maxUnixSeconds = 2 ** 31 - 1;
/** The server's clock ticks once a second, and may then skip one: so much longer, and nothing is gone early. */
const slackSeconds = 2;

/** Why a key cannot be one; undefined: it can. Go's client refuses the same. */
export function keyProblem(key: string): string | undefined {
  if (/[\0-\x20\x7f]/.test(key)) return 'spaces and control characters are not allowed';
  const bytes = Buffer.byteLength(key);
  if (bytes === 0 || bytes > maxKeyBytes) return `it has ${bytes} bytes, expected 1 to ${maxKeyBytes}`;
  return undefined;
}

/** @throws MachineryError ERR_MACHINERY_BACKEND_FAILED for a UUID that cannot be a key. */
export function checkKey(uuid: string, what: 'task' | 'group'): void {
  const problem = keyProblem(uuid);
  if (problem !== undefined) throw new MachineryError('ERR_MACHINERY_BACKEND_FAILED', refusedKey(uuid, what, problem));
}

export function refusedKey(uuid: string, what: 'task' | 'group', problem: string): string {
  return `The UUID of ${what} ${JSON.stringify(uuid.slice(0, 100))} cannot be a key of Memcached: ${problem}`;
}

export function get(key: string): Command {
  return { key, text: `mg ${key} v c\r\n` };
}

export function getSecondsLeft(key: string): Command {
  return { key, text: `mg ${key} t\r\n` };
}

export function getWithSecondsLeft(key: string): Command {
  return { key, text: `mg ${key} v c t\r\n` };
}

export function remove(key: string): Command {
  return { key, text: `delete ${key}\r\n` };
}

export function set(key: string, value: string, expiresInSeconds: number): Command {
  return store('set', key, value, secondsFor(expiresInSeconds));
}

/** @param before undefined: nothing may be there. */
export function replace(key: string, before: Item | undefined, value: string, secondsLeft: SecondsLeft): Command {
  return before === undefined
    ? store('add', key, value, secondsLeft)
    : store('cas', key, value, secondsLeft, ` ${before.cas}`);
}

/** How long an item is to have, so that it is there for at least as long as is said. */
export function secondsFor(expiresInSeconds: number): number {
  return Math.ceil(expiresInSeconds) + slackSeconds;
}

function store(verb: string, key: string, value: string, secondsLeft: SecondsLeft, cas = ''): Command {
  const head = `${verb} ${key} 0 ${expiry(secondsLeft)} ${Buffer.byteLength(value)}${cas}`;
  return { key, text: `${head}\r\n${value}\r\n` };
}

/** Relative where it can be: then clocks need not agree. */
function expiry(secondsLeft: SecondsLeft): number {
  if (secondsLeft === undefined) return 0;
  if (secondsLeft <= maxRelativeSeconds) return secondsLeft;
  return Math.min(Math.ceil(Date.now() / 1_000) + secondsLeft, maxUnixSeconds);
}

/**
 * The item of a reply to a `get`; undefined: it is not there.
 * @throws MachineryError what the server says instead.
 */
export function itemOf({ line, data }: Reply): Item | undefined {
  if (line === 'EN') return undefined;
  if (data === undefined) throw storeError(line);
  const cas = flagOf(line, 'c');
  if (cas === '0') {
    const text = 'Memcached runs without CAS (option -C), which claims and states need';
    throw new MachineryError('ERR_MACHINERY_BACKEND_FAILED', text);
  }
  return { text: data.toString(), cas };
}

/** What a reply says of how long the item has left; `gone`: it is not there. */
export function secondsLeftOf({ line }: Reply): SecondsLeft | 'gone' {
  if (line === 'EN') return 'gone';
  if (!/^(?:HD|VA) /.test(line)) throw storeError(line);
  const left = Number(flagOf(line, 't'));
  return left === -1 ? undefined : left;
}

/**
 * Whether a `set` or `replace` was done; not: something has changed in between.
 * @throws MachineryError why it was refused.
 */
export function isStored({ line }: Reply): boolean {
  if (line === 'STORED') return true;
  if (line === 'NOT_STORED' || line === 'EXISTS' || line === 'NOT_FOUND') return false;
  throw storeError(line);
}

/** @throws MachineryError why it could not be removed. What is not there is no error. */
export function checkRemoved({ line }: Reply): void {
  if (line !== 'DELETED' && line !== 'NOT_FOUND') throw storeError(line);
}

/** A `SERVER_ERROR`: an item over the server's limit stays so, everything else (no memory, say) may pass. */
function storeError(line: string): MachineryError {
  if (/too large/.test(line)) {
    const text = `Memcached's limit for items (its option -I) is less than \`maxStateBytes\` and some room: ${line}`;
    return new MachineryError('ERR_MACHINERY_STATE_TOO_LARGE', text);
  }
  return new MachineryError('ERR_MACHINERY_BACKEND_UNAVAILABLE', `Memcached could not do it: ${line.slice(0, 200)}`);
}

function flagOf(line: string, flag: string): string {
  const [, value = ''] = new RegExp(` ${flag}(-?\\d+)`).exec(line) ?? [];
  return value;
}
