// When a chord's callback is due. Each member that succeeds looks whether the others have, and one of them claims the
// callback, collects the results and sends it; a member that failed claims it to fail it. `follow-ups.ts` calls this.
//
// Looking costs few reads: while other members are in this worker's hands, the last of them looks for all; and a look
// begins with one member that was seen unfinished, from alternate ends of the group, and goes on only when that is done.
// What was seen finished is remembered. It is a hint: the results are read again once the callback is claimed.

import type { Engine } from './engine.ts';
import { errorText, MachineryError, mayPass } from './errors.ts';
import type { Ending } from './follow-ups.ts';
import type { Persistence } from './persistence.ts';
import { derivedUuid, type Named } from './sender.ts';
import type { Signature } from './signature.ts';
import { type GroupMeta, isFinal, type TaskResult, type TaskState } from './task-state.ts';

export interface ChordPorts {
  readonly send: (callback: Signature, sentAt: string | undefined) => Promise<void>;
  readonly fail: (callback: Signature, error: string, sentAt: string | undefined) => Promise<void>;
}

/** What this worker knows of a group. */
interface Group {
  readonly uuid: string;
  /** Members whose tasks have not ended here. */
  readonly inHand: Set<Signature>;
  /** UUIDs of members that have succeeded. */
  readonly finished: Set<string>;
  meta: GroupMeta | undefined;
  /** How many members at each end of the group are known to be finished. */
  readonly ends: [first: number, last: number];
  /** Which end is looked at. */
  end: 0 | 1;
  /** When the meta was last known to have its whole time before it, Unix milliseconds. */
  renewedAt: number;
}

type Look = { readonly kind: 'unfinished' | 'complete' } | { readonly kind: 'failed'; readonly error: string };

/** How many finished members are remembered, over all groups: those of the oldest groups are forgotten first. */
const maxRemembered = 50_000;
/** The most states that are read at once. */
const readSize = 1_000;
/** A group's meta is renewed when this share of its time has passed. */
const renewAfter = 0.1;

/** Whether a chord waits for the task. */
export function isChordMember({ groupUuid, chordCallback }: Signature): boolean {
  return chordCallback !== undefined && groupUuid !== undefined && groupUuid !== '';
}

export class Chords {
  readonly #engine: Engine;
  readonly #persistence: Persistence;
  readonly #ports: ChordPorts;
  /** In the order in which they were last needed. */
  readonly #groups = new Map<string, Group>();
  #remembered = 0;

  constructor(engine: Engine, persistence: Persistence, ports: ChordPorts) {
    this.#engine = engine;
    this.#persistence = persistence;
    this.#ports = ports;
  }

  /** A member is in this worker's hands from now on, until it has succeeded or `letGo` is called. */
  hold(member: Signature): void {
    this.#group(member).inHand.add(member);
  }

  letGo(member: Signature): void {
    const group = this.#groups.get(member.groupUuid as string);
    if (group?.inHand.delete(member) && group.inHand.size + group.finished.size === 0) this.#groups.delete(group.uuid);
  }

  /** Sends or fails the callback if this was the last member. Its SUCCESS is stored. Rejects only when the worker stops at once. */
  async memberSucceeded(member: Named, { again, sentAt }: Ending): Promise<void> {
    const group = this.#group(member);
    if (!this.#persistence.mayRead)
      return this.#engine.logger.error(
        `Task ${member.name} (${member.uuid}) is the member of a chord, which ${this.#engine.backend.name} cannot complete`,
      );
    if (!again && group.finished.has(member.uuid)) this.#forget(group); // the group was sent again under its UUIDs
    this.#remember(group, member.uuid);
    group.inHand.delete(member);
    await this.#renew(group, sentAt);
    if (group.inHand.size > 0) return; // one of those looks, here or wherever it comes to run
    const look = await this.#look(group);
    if (look.kind === 'unfinished') return;
    await this.#decide(member, group, look.kind === 'failed' ? look.error : undefined, sentAt);
  }

  /** Fails the callback, unless another member has decided. */
  async memberFailed(member: Named, error: string, sentAt: string | undefined): Promise<void> {
    if (isChordMember(member)) await this.#decide(member, this.#group(member), error, sentAt);
  }

  async #decide(member: Named, group: Group, error: string | undefined, sentAt: string | undefined): Promise<void> {
    const { backend } = this.#engine;
    const claim = await this.#claim(member);
    if (claim === 'other' || claim === 'done') return this.#forget(group);
    const callback = member.chordCallback as Signature;
    const named = { ...callback, uuid: callback.uuid || derivedUuid(`${group.uuid}/chord`) };
    const decided = error ?? (claim === 'claimed' ? await this.#results(group) : claim.error);
    const since = group.meta?.createdAt ?? sentAt;
    if (typeof decided === 'string') await this.#ports.fail(named, decided, since);
    else {
      const args = callback.immutable === true ? [] : decided;
      await this.#ports.send({ ...named, args: [...(callback.args ?? []), ...args] }, since);
    }
    if (claim === 'claimed') await this.#call(() => backend.finishChord(group.uuid));
    this.#forget(group);
  }

  /** An error: the backend cannot say who has it, and never will. */
  async #claim(member: Named): Promise<'claimed' | 'other' | 'done' | { readonly error: string }> {
    return this.#call(() =>
      this.#engine.backend.claimChord(member.groupUuid as string, member.uuid).catch((error) => {
        if (mayPass(error)) throw error;
        return { error: codeAndText(error) };
      }),
    );
  }

  /** The results of all members in their order, or why there are none. */
  async #results(group: Group): Promise<readonly TaskResult[] | string> {
    const meta = group.meta ?? (await this.#readMeta(group));
    if (meta === undefined) return goneText(group);
    const all: TaskResult[] = [];
    for (let from = 0; from < meta.taskUuids.length; from += readSize) {
      const uuids = meta.taskUuids.slice(from, from + readSize);
      for (const [i, state] of (await this.#persistence.read(uuids)).entries()) {
        const ended = state !== undefined && !isFinal(state.state) ? await this.#ended(state) : state;
        if (ended === undefined) return goneText(group, uuids[i]);
        if (ended.state === 'FAILURE') return failedText(ended);
        all.push(...(ended.results ?? []));
      }
    }
    return all;
  }

  /** The final state of a member. One that was remembered as finished and is not was sent again since: the claim is ours, so we wait. */
  async #ended({ taskUuid }: TaskState): Promise<TaskState | undefined> {
    const { signal } = this.#persistence;
    try {
      return await this.#engine.results.wait(taskUuid, true, { signal });
    } catch (error) {
      signal.throwIfAborted();
      if (!MachineryError.is(error, 'ERR_MACHINERY_RESULT_EXPIRED')) throw error;
      return undefined;
    }
  }

  async #look(group: Group): Promise<Look> {
    const meta = group.meta ?? (await this.#readMeta(group));
    if (meta === undefined) return { kind: 'failed', error: goneText(group) };
    for (let size = 1; ; size *= 2) {
      const uuids = unfinished(group, meta, Math.min(size, readSize));
      if (uuids.length === 0) return { kind: 'complete' };
      const states = await this.#persistence.read(uuids);
      let running = false;
      for (const [i, state] of states.entries()) {
        if (state === undefined) return { kind: 'failed', error: goneText(group, uuids[i]) };
        if (state.state === 'FAILURE') return { kind: 'failed', error: failedText(state) };
        if (state.state === 'SUCCESS') this.#remember(group, state.taskUuid);
        else running = true;
      }
      if (running) return { kind: 'unfinished' };
      if (size === 1) group.end = group.end === 0 ? 1 : 0;
    }
  }

  /** Keeps the meta for as long after each completion as a state is kept; most of the time it still is. */
  async #renew(group: Group, sentAt: string | undefined): Promise<void> {
    const { backend, sender } = this.#engine;
    const expiresInSeconds = sender.expiresInSeconds(undefined);
    const now = Date.now();
    group.renewedAt ||= sentAt === undefined ? 1 : Date.parse(sentAt);
    if (now - group.renewedAt < expiresInSeconds * 1_000 * renewAfter) return;
    group.renewedAt = now;
    await this.#call(() => backend.renewGroup(group.uuid, expiresInSeconds));
  }

  async #readMeta(group: Group): Promise<GroupMeta | undefined> {
    group.meta = await this.#call(() => this.#engine.backend.readGroup(group.uuid));
    return group.meta;
  }

  #call<T>(call: () => Promise<T>): Promise<T> {
    return this.#persistence.untilDone('asked about a group', call);
  }

  #group(member: Signature): Group {
    const uuid = member.groupUuid as string;
    let group = this.#groups.get(uuid);
    if (group === undefined)
      group = { uuid, inHand: new Set(), finished: new Set(), meta: undefined, ends: [0, 0], end: 1, renewedAt: 0 };
    else this.#groups.delete(uuid);
    this.#groups.set(uuid, group);
    return group;
  }

  #remember(group: Group, uuid: string): void {
    if (group.finished.has(uuid)) return;
    group.finished.add(uuid);
    if (++this.#remembered > maxRemembered)
      for (const oldest of this.#groups.values()) {
        if (oldest !== group) this.#forget(oldest);
        if (this.#remembered <= maxRemembered) break;
      }
  }

  /** What is in hand stays known. */
  #forget(group: Group): void {
    this.#remembered -= group.finished.size;
    group.finished.clear();
    group.meta = undefined;
    group.ends[0] = group.ends[1] = 0;
    if (group.inHand.size === 0) this.#groups.delete(group.uuid);
  }
}

/** Up to `count` members that are not known to be finished, from the end that is looked at. */
function unfinished(group: Group, { taskUuids }: GroupMeta, count: number): string[] {
  const { ends, end, finished } = group;
  const at = (i: number) => taskUuids[end === 0 ? i : taskUuids.length - 1 - i] as string;
  while (ends[end] < taskUuids.length && finished.has(at(ends[end]))) ends[end]++;
  const found: string[] = [];
  for (let i = ends[end]; i < taskUuids.length && found.length < count; i++)
    if (!finished.has(at(i))) found.push(at(i));
  return found;
}

function failedText({ taskName, taskUuid, error = '' }: TaskState): string {
  return `Task ${taskName} (${taskUuid}) failed: ${error}`;
}

function goneText({ uuid }: Group, member?: string): string {
  const what = member === undefined ? 'its meta is' : `the state of its member ${member} is`;
  return `ERR_MACHINERY_GROUP_EXPIRED: group ${uuid} cannot be completed, ${what} gone`;
}

function codeAndText(error: unknown): string {
  return MachineryError.is(error) ? `${error.code}: ${error.message}` : errorText(error);
}
