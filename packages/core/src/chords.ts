// When a chord's callback is due. Each member that succeeds looks whether the others have, and one of them claims the
// callback, collects the results and sends it; a member that failed claims it to fail it. `follow-ups.ts` calls this.
// Where states cannot be read, the look takes those of the whole group, and whoever gets them sends the callback.
//
// Looking costs few reads: while other members are in this worker's hands, the last of them looks for all (but one whose
// message came back may have the claim, and looks itself); and a look
// begins with one member that was seen unfinished, from alternate ends of the group, and goes on only when that is done.
// What was seen finished is remembered, with its results where they are small. All of it may be of an earlier send of the
// same group: that is told by the time of the meta.

import type { Backend, StateGroup, TakenGroup } from './backend.ts';
import { sleep } from './backoff.ts';
import type { Engine } from './engine.ts';
import { errorText, MachineryError, mayPass } from './errors.ts';
import type { Ending } from './follow-ups.ts';
import type { Persistence } from './persistence.ts';
import { attemptOf } from './retry.ts';
import type { Named } from './sender.ts';
import { sentAtOf } from './sent-at.ts';
import type { Signature } from './signature.ts';
import { type GroupMeta, isFinal, isOlderThan, type TaskResult, type TaskState } from './task-state.ts';
import { derivedUuid } from './uuid.ts';

export interface ChordPorts {
  readonly send: (member: Named, callback: Signature, sentAt: string | undefined) => Promise<void>;
  readonly fail: (callback: Signature, error: string, sentAt: string | undefined) => Promise<void>;
}

/** A member that has succeeded. */
interface Finished {
  readonly createdAt: string | undefined;
  /** Absent: they are to be read. */
  readonly results: readonly TaskResult[] | undefined;
}

/** What this worker knows of a group. */
interface Group {
  readonly uuid: string;
  /** Members whose tasks have not ended here, and whether their messages came back: such a one may have the claim. */
  readonly inHand: Map<Signature, boolean>;
  /** By UUID. */
  readonly finished: Map<string, Finished>;
  meta: GroupMeta | undefined;
  /** How many members at each end of the group are known to be finished. */
  readonly ends: [first: number, last: number];
  /** Which end is looked at. */
  end: 0 | 1;
  /** When the meta was last known to have its whole time before it, Unix milliseconds. */
  renewedAt: number;
  /** Members have left it to those in hand to look. */
  leftToOthers: boolean;
  /** A look that is under way. Never rejects. */
  looking: Promise<void> | undefined;
  /** Who looks after that. */
  nextToLook: Signature | undefined;
  /** A member here has the claim, and needs what is remembered. */
  deciding: boolean;
  /** Under way, or done, without a claim: the meta is gone. */
  failing: Promise<void> | undefined;
}

type Look =
  | { readonly kind: 'unfinished' | 'complete' }
  | { readonly kind: 'failed'; readonly error: string }
  | { readonly kind: 'taken'; readonly taken: TakenGroup };

/** How many UUIDs are remembered, over all groups: those of the oldest groups are forgotten first. */
const maxRemembered = 50_000;
const maxGroups = 10_000;
/** Texts of up to so many characters are remembered. */
const smallText = 100;
/** How many members a look reads one by one before it reads more of them at once. */
const singleReads = 8;
/** The most states that are read at once. */
const readSize = 1_000;
/** How long whoever has all states waits for the member that has the claim, in milliseconds: it decides, or comes again. */
const claimantMs = 100;
/** A group's meta is renewed when this share of its time has passed. */
const renewAfter = 0.1;

/** Whether a chord waits for the task. */
export function isChordMember({ groupUuid, chordCallback }: Signature): boolean {
  return chordCallback !== undefined && groupUuid !== undefined && groupUuid !== '';
}

/** The group of a chord's member; undefined: it does not say how many members there are. */
export function groupOf({ groupUuid = '', groupTaskCount = 0 }: Signature): StateGroup | undefined {
  return groupTaskCount > 0 ? { uuid: groupUuid, taskCount: groupTaskCount } : undefined;
}

/** Whether workers can complete chords. */
export function completesChords({ backend, results }: Pick<Engine, 'backend' | 'results'>): boolean {
  return results.mayRead || takesGroups(backend);
}

function takesGroups({ capabilities }: Backend): boolean {
  return capabilities.storesResults && capabilities.takesGroups === true;
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
  hold(member: Signature, isRedelivered: boolean): void {
    this.#group(member).inHand.set(member, isRedelivered);
  }

  /**
   * Its next attempt may have ended in other hands before members here did that left it to this one to look: then it looks,
   * while its message is still there to take over its claim. undefined: there is nothing to do.
   */
  letGo(member: Named, sentAt: string | undefined): Promise<void> | undefined {
    const group = this.#groups.get(member.groupUuid as string);
    if (!group?.inHand.delete(member)) return undefined;
    if (group.leftToOthers && group.inHand.size === 0) return this.#completed(member, group, false, sentAt);
    this.#dropIfEmpty(group);
    return undefined;
  }

  /**
   * Sends or fails the callback if this was the last member; undefined: there is nothing to do. Its SUCCESS is stored.
   * Rejects only when the worker stops at once.
   */
  memberSucceeded(member: Named, results: readonly TaskResult[], { again, sentAt }: Ending): Promise<void> | undefined {
    if (!completesChords(this.#engine)) return this.#cannotComplete(member);
    const group = this.#group(member);
    if (this.#persistence.mayRead) {
      if (!again && group.finished.has(member.uuid)) this.#clear(group); // the group was sent again under its UUIDs
      this.#remember(group, member.uuid, sentAt, results);
    }
    const mayHaveClaim = group.inHand.get(member) === true;
    group.inHand.delete(member);
    const renewed = this.#renewInTime(group, sentAt);
    if (group.inHand.size > 0 && !mayHaveClaim) {
      group.leftToOthers = true; // one of those looks, here or wherever it comes to run
      return renewed;
    }
    return this.#completed(member, group, mayHaveClaim, sentAt, renewed);
  }

  /** @param mayHaveClaim nobody else can look for it. */
  async #completed(
    member: Named,
    group: Group,
    mayHaveClaim: boolean,
    sentAt: string | undefined,
    renewed?: Promise<void>,
  ): Promise<void> {
    if (group.inHand.size === 0) group.leftToOthers = false;
    await renewed;
    // One look at a time: of those that come meanwhile, the last looks for all.
    if (!mayHaveClaim) group.nextToLook = member;
    while (group.looking !== undefined) await group.looking;
    if (!mayHaveClaim && group.nextToLook !== member) return;
    const looking = this.#persistence.mayRead ? this.#look(group) : this.#take(member, mayHaveClaim);
    group.looking = settled(looking).then(() => {
      group.looking = undefined;
    });
    const look = await looking;
    if (look.kind === 'unfinished') {
      if (!this.#persistence.mayRead) this.#dropIfEmpty(group);
    } else if (look.kind === 'taken') await this.#decideTaken(member, group, look.taken, sentAt);
    else await this.#decide(member, group, look.kind === 'failed' ? look.error : undefined, sentAt);
  }

  /** @param again its state may be there twice. */
  #take(member: Named, again: boolean): Promise<Look> {
    const { backend } = this.#engine;
    const group = groupOf(member);
    return this.#call<Look>(
      async () => {
        const taken = group && (await backend.takeGroup?.(group, again));
        return taken === undefined ? { kind: 'unfinished' } : { kind: 'taken', taken };
      },
      (error) => ({ kind: 'failed', error: codeAndText(error) }),
    );
  }

  /** Nobody else can send the callback while the states are in our hands; a member that failed may have the claim to fail it. */
  async #decideTaken(member: Named, group: Group, taken: TakenGroup, sentAt: string | undefined): Promise<void> {
    const { signal } = this.#persistence;
    const { states, inOrder, release } = taken;
    try {
      signal.throwIfAborted();
      const failed = states.find(({ state }) => state === 'FAILURE');
      // Go's clients store no meta, and get results in any order.
      const error = failed ? failedText(failed) : !inOrder && sentAtOf(member) ? goneText(group) : undefined;
      if (error === undefined) {
        const results = states.flatMap((state) => state.results ?? []);
        await this.#sendCallback(member, results, sentAt);
        return await this.#finish(group);
      }
      if (await this.#decide(member, group, error, sentAt)) return;
    } finally {
      await release();
    }
    await sleep(claimantMs, signal);
    await this.#completed(member, group, true, sentAt);
  }

  #cannotComplete({ name, uuid }: Named): undefined {
    const { backend, logger } = this.#engine;
    logger.error(`Task ${name} (${uuid}) is the member of a chord, which ${backend.name} cannot complete`);
  }

  /** Fails the callback, unless another member has decided. */
  async memberFailed(member: Named, error: string, sentAt: string | undefined): Promise<void> {
    if (isChordMember(member)) await this.#decide(member, this.#group(member), error, sentAt);
  }

  /** Fails the callback for a member that no message stands for: nobody could take over its claim, so it takes none. */
  async unsentMember(member: Named, error: string, sentAt: string | undefined): Promise<void> {
    if (!isChordMember(member)) return;
    await this.#failUnclaimed(member, this.#group(member), error, sentAt);
  }

  /** Keeps the meta of the member's group until the member runs again, and for as long as a state is kept after that. */
  async keepUntil(member: Signature, dueAtMs: number): Promise<void> {
    await this.#renew(member.groupUuid as string, this.#engine.sender.expiresInSeconds(dueAtMs));
  }

  /** Answers whether it is decided: false while another member has the claim. */
  async #decide(member: Named, group: Group, error: string | undefined, sentAt: string | undefined): Promise<boolean> {
    // Given back, it may have come and gone elsewhere before the group was complete: then nobody could take the claim over.
    this.#persistence.signal.throwIfAborted();
    const claim = await this.#claim(member);
    if (claim === 'other' || claim === 'done') {
      if (!group.deciding) this.#forget(group);
      return claim === 'done';
    }
    if (claim !== 'claimed') {
      await this.#failUnclaimed(member, group, error ?? claim.error, sentAt);
      return true;
    }
    if (group.deciding) return true; // the same message, that came twice, is at it
    group.deciding = true;
    const meta = await this.#readMeta(group);
    const since = meta?.createdAt ?? sentAt;
    const decided = error ?? (meta === undefined ? goneText(group) : await this.#results(group, meta));
    if (typeof decided === 'string') await this.#ports.fail(callbackOf(member), decided, since);
    else await this.#sendCallback(member, decided, since);
    await this.#finish(group);
    return true;
  }

  /** Where nobody can be elected: in this worker, it happens once. */
  async #failUnclaimed(member: Named, group: Group, error: string, sentAt: string | undefined): Promise<void> {
    group.failing ??= this.#ports.fail(callbackOf(member), error, sentAt).then(() => {
      // Who takes the states of the group cannot read that the callback has failed.
      return takesGroups(this.#engine.backend) ? this.#flag(group) : undefined;
    });
    await group.failing;
  }

  async #sendCallback(member: Named, results: readonly TaskResult[], since: string | undefined): Promise<void> {
    const callback = callbackOf(member);
    const args = callback.immutable === true ? [] : results;
    await this.#ports.send(member, { ...callback, args: [...(callback.args ?? []), ...args] }, since);
  }

  async #finish(group: Group): Promise<void> {
    await this.#flag(group);
    this.#forget(group);
  }

  #flag(group: Group): Promise<void> {
    return this.#call(
      () => this.#engine.backend.finishChord(group.uuid),
      () => undefined,
    );
  }

  /** An error: the backend cannot say who has it, and never will. */
  #claim(member: Named): Promise<'claimed' | 'other' | 'done' | { readonly error: string }> {
    return this.#call<'claimed' | 'other' | 'done' | { readonly error: string }>(
      () => this.#engine.backend.claimChord(member.groupUuid as string, claimantOf(member)),
      (error) => ({ error: codeAndText(error) }),
    );
  }

  /** The results of all members in their order, or why there are none. */
  async #results(group: Group, { taskUuids }: GroupMeta): Promise<readonly TaskResult[] | string> {
    const all: (readonly TaskResult[] | undefined)[] = taskUuids.map((uuid) => group.finished.get(uuid)?.results);
    const missing = [...all.keys()].filter((i) => all[i] === undefined);
    for (let from = 0; from < missing.length; from += readSize) {
      const places = missing.slice(from, from + readSize);
      const states = await this.#persistence.read(places.map((i) => taskUuids[i] as string));
      for (const [at, state] of states.entries()) {
        const i = places[at] as number;
        const ended = state !== undefined && !isFinal(state.state) ? await this.#ended(state) : state;
        if (ended === undefined) return goneText(group, taskUuids[i]);
        if (ended.state === 'FAILURE') return failedText(ended);
        all[i] = ended.results ?? [];
      }
    }
    return (all as (readonly TaskResult[])[]).flat();
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
    for (let step = 0; ; step++) {
      // One by one at first: what lies behind one that is done may well be running, and then was read for nothing.
      const size = 2 ** Math.max(0, step - singleReads);
      const uuids = unfinished(group, meta, Math.min(size, readSize));
      if (uuids.length === 0) return { kind: 'complete' };
      const states = await this.#persistence.read(uuids);
      let running = false;
      for (const [i, state] of states.entries()) {
        if (state === undefined) return { kind: 'failed', error: goneText(group, uuids[i]) };
        if (state.state === 'FAILURE') return { kind: 'failed', error: failedText(state) };
        if (state.state === 'SUCCESS') this.#remember(group, state.taskUuid, state.createdAt, state.results ?? []);
        else running = true;
      }
      if (running) return { kind: 'unfinished' };
      if (step === 0) group.end = group.end === 0 ? 1 : 0;
    }
  }

  /** Keeps the meta for as long after each completion as a state is kept; undefined: it still is, as it is most of the time. */
  #renewInTime(group: Group, sentAt: string | undefined): Promise<void> | undefined {
    const expiresInSeconds = this.#engine.sender.expiresInSeconds(undefined);
    const now = this.#engine.clock.now();
    group.renewedAt ||= sentAt === undefined ? 1 : Date.parse(sentAt);
    if (now - group.renewedAt < expiresInSeconds * 1_000 * renewAfter) return undefined;
    group.renewedAt = now;
    return this.#renew(group.uuid, expiresInSeconds);
  }

  #renew(groupUuid: string, expiresInSeconds: number): Promise<void> {
    return this.#call(
      () => this.#engine.backend.renewGroup(groupUuid, expiresInSeconds),
      () => undefined,
    );
  }

  /** Reads the meta, and forgets what is known of an earlier send. */
  async #readMeta(group: Group): Promise<GroupMeta | undefined> {
    const meta = await this.#call(
      () => this.#engine.backend.readGroup(group.uuid),
      () => undefined,
    );
    if (group.meta !== undefined && group.meta.createdAt !== meta?.createdAt) this.#clear(group);
    for (const [uuid, finished] of group.finished)
      if (isOlderThan(finished, meta?.createdAt) && group.finished.delete(uuid)) this.#remembered--;
    group.ends[0] = group.ends[1] = 0;
    if (group.meta === undefined && meta !== undefined) this.#count(group, meta.taskUuids.length);
    group.meta = meta;
    return meta;
  }

  /** Calls until the backend answers. `refused` answers for what it will never do. */
  #call<T>(call: () => Promise<T>, refused: (error: unknown) => T): Promise<T> {
    return this.#persistence.untilDone('asked about a group', () =>
      call().catch((error) => {
        if (mayPass(error)) throw error;
        this.#engine.logger.error(`A group's meta cannot be read or written: ${errorText(error)}`, error);
        return refused(error);
      }),
    );
  }

  #group(member: Signature): Group {
    const uuid = member.groupUuid as string;
    const group = this.#groups.get(uuid) ?? {
      uuid,
      inHand: new Map(),
      finished: new Map(),
      meta: undefined,
      ends: [0, 0],
      end: 1,
      renewedAt: 0,
      leftToOthers: false,
      looking: undefined,
      nextToLook: undefined,
      deciding: false,
      failing: undefined,
    };
    this.#groups.delete(uuid);
    this.#groups.set(uuid, group);
    if (this.#groups.size > maxGroups) this.#dropOldest();
    return group;
  }

  #remember(group: Group, uuid: string, createdAt: string | undefined, results: readonly TaskResult[]): void {
    if (group.finished.has(uuid)) return;
    group.finished.set(uuid, {
      createdAt,
      results: createdAt !== undefined && areSmall(results) ? results : undefined,
    });
    this.#count(group, 1);
  }

  #count(group: Group, uuids: number): void {
    this.#remembered += uuids;
    if (this.#remembered <= maxRemembered) return;
    for (const oldest of this.#groups.values()) {
      if (this.#remembered <= maxRemembered) return;
      if (oldest !== group) this.#forget(oldest);
    }
  }

  #dropOldest(): void {
    const oldest = this.#groups.values().next().value as Group;
    this.#clear(oldest);
    if (oldest.inHand.size === 0) this.#groups.delete(oldest.uuid);
  }

  /** What is in hand stays known. */
  #forget(group: Group): void {
    group.leftToOthers = false;
    group.deciding = false;
    this.#clear(group);
    this.#dropIfEmpty(group);
  }

  #clear(group: Group): void {
    this.#remembered -= group.finished.size + (group.meta?.taskUuids.length ?? 0);
    group.finished.clear();
    group.meta = undefined;
    group.ends[0] = group.ends[1] = 0;
  }

  #dropIfEmpty(group: Group): void {
    const { uuid, inHand, finished, failing } = group;
    if (inHand.size + finished.size === 0 && failing === undefined) this.#groups.delete(uuid);
  }
}

/** Resolves when the work has ended, however. */
async function settled(work: Promise<unknown>): Promise<void> {
  await work.catch(() => {});
}

/** Whose claim it is: of two attempts at once, each with its message, one calls back. */
function claimantOf(member: Named): string {
  const attempt = attemptOf(member);
  return attempt === 1 ? member.uuid : `${member.uuid}#${attempt}`;
}

/** A callback without a UUID gets the same one from every member. */
function callbackOf({ groupUuid, chordCallback }: Named): Named {
  const callback = chordCallback as Signature;
  return { ...callback, uuid: callback.uuid || derivedUuid(`${groupUuid}/chord`) };
}

function areSmall(results: readonly TaskResult[]): boolean {
  return results.every(({ value }) =>
    typeof value === 'string' ? value.length <= smallText : typeof value !== 'object',
  );
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
