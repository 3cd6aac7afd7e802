// Metas of groups and claims of their chords. Each is one item, whatever changes it is a compare-and-swap of all of it, and its time to
// live stays as it is.

import { setTimeout as sleep } from 'node:timers/promises';
import { type ChordClaim, errorText, type GroupMeta, MachineryError } from '@machinery/core';
import {
  checkKey,
  get,
  getSecondsLeft,
  getWithSecondsLeft,
  type Item,
  isStored,
  itemOf,
  replace,
  type SecondsLeft,
  secondsFor,
  secondsLeftOf,
  set,
} from './commands.ts';
import type { Reply } from './connection.ts';
import { decodeRecord, encodeRecord, type GroupRecord } from './group-record.ts';
import { type Command, type MemcachedServers, replyOf } from './servers.ts';

/** How long a group that a Go worker has locked is waited for, in milliseconds: it decides at once, or has died. */
const goLockMs = 1_000;
const goLockPollMs = 10;
/** A renewal keeps a meta for this share longer than asked, so that the next ones find that it is long enough. */
const renewalSlack = 0.1;

interface Found {
  readonly item: Item;
  readonly record: GroupRecord;
  readonly secondsLeft: SecondsLeft;
}

export class Groups {
  readonly #servers: MemcachedServers;
  readonly #maxBytes: number;

  constructor(servers: MemcachedServers, maxBytes: number) {
    this.#servers = servers;
    this.#maxBytes = maxBytes;
  }

  async create(meta: GroupMeta, expiresInSeconds: number): Promise<void> {
    const { groupUuid, taskUuids } = meta;
    const text = encodeRecord({ meta });
    const bytes = Buffer.byteLength(text);
    if (bytes > this.#maxBytes) {
      const why = `The meta of group ${groupUuid}, with ${taskUuids.length} tasks, has ${bytes} bytes, the backend takes at most ${this.#maxBytes}`;
      throw new MachineryError('ERR_MACHINERY_STATE_TOO_LARGE', why);
    }
    isStored(await this.#call(groupUuid, (key) => set(key, text, expiresInSeconds)));
  }

  async read(groupUuid: string): Promise<GroupMeta | undefined> {
    const item = itemOf(await this.#call(groupUuid, get));
    return item && decoded(item.text, groupUuid).meta;
  }

  async renew(groupUuid: string, expiresInSeconds: number): Promise<void> {
    const wanted = secondsFor(expiresInSeconds);
    const isEnough = (left: SecondsLeft | 'gone') => left === 'gone' || left === undefined || left >= wanted;
    if (isEnough(secondsLeftOf(await this.#call(groupUuid, getSecondsLeft)))) return;
    const longer = wanted + Math.floor(expiresInSeconds * renewalSlack);
    for (;;) {
      const found = await this.#find(groupUuid);
      if (found === undefined || isEnough(found.secondsLeft)) return;
      if (await this.#replace(groupUuid, { ...found, secondsLeft: longer }, found.record)) return;
    }
  }

  async claim(groupUuid: string, claimant: string): Promise<ChordClaim> {
    const lockedUntil = performance.now() + goLockMs;
    for (;;) {
      const found = await this.#find(groupUuid);
      if (found === undefined) throw expired(groupUuid);
      const { meta, claim } = found.record;
      if (claim !== undefined) return claim === claimant ? 'claimed' : 'other';
      if (meta.chordTriggered) return 'done';
      if (meta.lock && performance.now() < lockedUntil) await sleep(goLockPollMs);
      else if (await this.#replace(groupUuid, found, { meta, claim: claimant })) return 'claimed';
    }
  }

  async finish(groupUuid: string): Promise<void> {
    for (;;) {
      const found = await this.#find(groupUuid);
      if (found === undefined || found.record.meta.chordTriggered) return;
      const meta = { ...found.record.meta, chordTriggered: true };
      if (await this.#replace(groupUuid, found, { meta })) return;
    }
  }

  async #find(groupUuid: string): Promise<Found | undefined> {
    const reply = await this.#call(groupUuid, getWithSecondsLeft);
    const item = itemOf(reply);
    const secondsLeft = secondsLeftOf(reply);
    if (item === undefined || secondsLeft === 'gone') return undefined;
    return { item, record: decoded(item.text, groupUuid), secondsLeft };
  }

  /** Answers whether it was still what had been found. */
  async #replace(groupUuid: string, { item, secondsLeft }: Found, record: GroupRecord): Promise<boolean> {
    const text = encodeRecord(record);
    return isStored(await this.#call(groupUuid, (key) => replace(key, item, text, secondsLeft)));
  }

  async #call(groupUuid: string, command: (key: string) => Command): Promise<Reply> {
    checkKey(groupUuid, 'group');
    const [answer] = await this.#servers.call([command(groupUuid)]);
    return replyOf(answer);
  }
}

function decoded(text: string, groupUuid: string): GroupRecord {
  try {
    return decodeRecord(text);
  } catch (cause) {
    const why = `The key of group ${groupUuid} holds no meta of a group: ${errorText(cause)}`;
    throw new MachineryError('ERR_MACHINERY_BACKEND_FAILED', why, { cause });
  }
}

function expired(groupUuid: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_GROUP_EXPIRED', `Group ${groupUuid} is not there or has expired`);
}
