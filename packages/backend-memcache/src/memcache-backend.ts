// States and group metas as Go Machinery stores them in Memcached: JSON under their UUIDs, with an expiry. A final state is written
// blindly; what has to be merged is read, and written if it is still what was read (CAS).
//
// Neighbours: `groups.ts` (metas, claims), `servers.ts` (which server has a key, connections), `commands.ts` (commands, replies).

import {
  type Backend,
  type BackendCapabilities,
  type ChordClaim,
  type ContractVersion,
  checkOptions,
  consoleLogger,
  contractVersion,
  decodeState,
  encodeState,
  errorText,
  failed,
  type GroupMeta,
  integerOption,
  isFinal,
  type Logger,
  MachineryError,
  mergeState,
  type Outcome,
  optionalOption,
  type StateWrite,
  stored,
  stringOption,
  type TaskState,
} from '@machinery/core';
import {
  checkKey,
  checkRemoved,
  get,
  type Item,
  isStored,
  itemOf,
  keyProblem,
  refusedKey,
  remove,
  replace,
  secondsFor,
  set,
} from './commands.ts';
import { Groups } from './groups.ts';
import { type Command, closed, MemcachedServers, replyOf } from './servers.ts';
import { parseMemcacheUrl } from './url.ts';

export interface MemcacheBackendOptions {
  /**
   * `memcache://host[:port][,host[:port]…]`, or paths of Unix sockets in place of hosts. Everybody who shares the servers, Go's
   * programs too, has to list the same ones in the same order.
   */
  readonly url: string;
  /** The largest state and meta of a group, in bytes: about 48 kB less than the servers' limit for items (`-I`). Default: 1,000,000. */
  readonly maxStateBytes?: number;
  /** How long connecting may take, in milliseconds. Default: 10,000. */
  readonly connectTimeoutMs?: number;
  /** How long a server that owes an answer may be silent, in milliseconds, before it counts as away. Default: 10,000. */
  readonly commandTimeoutMs?: number;
}

/** What a member takes in a group's meta, and some room, in bytes: a UUID has 41, with its quotes and comma 44. */
const memberBytes = 50;
/** A `set` that is over the server's limit deletes what was there, and who waits would take it for expired: what may be is a CAS. */
const maxSetLength = 100_000;
const timerMs = integerOption({ min: 1, max: 2 ** 31 - 1 });

/** A state whose write looks at what is stored. */
interface Merge {
  readonly place: number;
  readonly write: StateWrite;
}

/** A result backend on Memcached, shared with Go's workers and clients. */
export class MemcacheBackend implements Backend {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/backend-memcache';
  readonly capabilities: BackendCapabilities;
  readonly #servers: MemcachedServers;
  readonly #groups: Groups;
  readonly #maxBytes: number;
  #logger: Logger = consoleLogger;
  #hasWarnedOfKey = false;
  #closed: Promise<void> | undefined;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: MemcacheBackendOptions) {
    checkOptions('MemcacheBackend', options, {
      url: stringOption,
      maxStateBytes: optionalOption(integerOption({ min: 1_000 })),
      connectTimeoutMs: optionalOption(timerMs),
      commandTimeoutMs: optionalOption(timerMs),
    });
    const { url, maxStateBytes = 1_000_000, connectTimeoutMs = 10_000, commandTimeoutMs = 10_000 } = options;
    this.#maxBytes = maxStateBytes;
    this.#servers = new MemcachedServers(parseMemcacheUrl('MemcacheBackend', url), {
      connectTimeoutMs,
      commandTimeoutMs,
    });
    this.#groups = new Groups(this.#servers, maxStateBytes);
    const maxGroupSize = Math.floor(maxStateBytes / memberBytes);
    this.capabilities = Object.freeze({ storesResults: true, maxStateBytes, maxGroupSize });
  }

  attach({ logger }: { readonly logger: Logger }): void {
    this.#logger = logger;
  }

  /**
   * Failures are ERR_MACHINERY_BACKEND_UNAVAILABLE, which may pass, ERR_MACHINERY_STATE_TOO_LARGE, ERR_MACHINERY_CLOSED, and
   * ERR_MACHINERY_BACKEND_FAILED for a UUID that cannot be a key.
   */
  async write(writes: readonly StateWrite[]): Promise<Outcome[]> {
    if (this.#closed) return writes.map(() => failed(closed(), false));
    const outcomes = new Array<Outcome>(writes.length);
    const places: number[] = [];
    const commands: Command[] = [];
    const merges: Merge[] = [];
    for (const [place, write] of writes.entries()) {
      const { state, expiresInSeconds } = write;
      try {
        checkKey(state.taskUuid, 'task');
        const text = isWhole(state) ? this.#encoded(state) : undefined;
        if (text === undefined || text.length > maxSetLength) merges.push({ place, write });
        else {
          commands.push(set(state.taskUuid, text, expiresInSeconds));
          places.push(place);
        }
      } catch (error) {
        outcomes[place] = outcomeOf(error);
      }
    }
    await Promise.all([this.#setAll(commands, places, outcomes), this.#mergeAll(merges, outcomes)]);
    return outcomes;
  }

  async #setAll(commands: readonly Command[], places: readonly number[], outcomes: Outcome[]): Promise<void> {
    const replies = await this.#servers.call(commands);
    for (const [i, reply] of replies.entries()) {
      outcomes[places[i] as number] = attempt(() => {
        isStored(replyOf(reply)); // by a `set`, which nothing can have come between
        return stored;
      }, outcomeOf);
    }
  }

  /** In rounds: those that something has come between are read again. */
  async #mergeAll(merges: readonly Merge[], outcomes: Outcome[]): Promise<void> {
    let left = merges;
    while (left.length > 0) {
      const found = await this.#servers.call(left.map(({ write }) => get(write.state.taskUuid)));
      const changing: Merge[] = [];
      const commands: Command[] = [];
      for (const [i, merge] of left.entries()) {
        outcomes[merge.place] = attempt(() => {
          const command = this.#merged(merge.write, itemOf(replyOf(found[i])));
          if (command !== undefined) {
            changing.push(merge);
            commands.push(command);
          }
          return stored;
        }, outcomeOf);
      }
      const replies = await this.#servers.call(commands);
      left = changing.filter(({ place }, i) => {
        let isDone = true;
        outcomes[place] = attempt(() => {
          isDone = isStored(replyOf(replies[i]));
          return stored;
        }, outcomeOf);
        return !isDone;
      });
    }
  }

  /** Writes what comes of a state and the stored one; undefined: that stays as it is. */
  #merged({ state, expiresInSeconds }: StateWrite, item: Item | undefined): Command | undefined {
    const current = item && this.#decoded(item.text, state.taskUuid);
    const merged = mergeState(current, state);
    if (merged === current) return undefined;
    return replace(state.taskUuid, item, this.#encoded(merged), secondsFor(expiresInSeconds));
  }

  /** What cannot be a key has no state. */
  async read(taskUuids: readonly string[]): Promise<(TaskState | undefined)[]> {
    this.#checkOpen();
    const states = new Array<TaskState | undefined>(taskUuids.length);
    const places = [...taskUuids.keys()].filter((i) => this.#canBeKey(taskUuids[i] as string));
    const replies = await this.#servers.call(places.map((i) => get(taskUuids[i] as string)));
    for (const [at, i] of places.entries()) {
      const item = itemOf(replyOf(replies[at]));
      states[i] = item && this.#decoded(item.text, taskUuids[i] as string);
    }
    return states;
  }

  async purge({
    tasks = [],
    groups = [],
  }: {
    readonly tasks?: readonly string[];
    readonly groups?: readonly string[];
  }): Promise<void> {
    this.#checkOpen();
    const keys = [...tasks, ...groups].filter((key) => keyProblem(key) === undefined);
    for (const reply of await this.#servers.call(keys.map(remove))) checkRemoved(replyOf(reply));
  }

  /** @throws MachineryError ERR_MACHINERY_STATE_TOO_LARGE, and as all calls. */
  initGroup(meta: GroupMeta, expiresInSeconds: number): Promise<void> {
    return this.#groups.create(meta, expiresInSeconds);
  }

  readGroup(groupUuid: string): Promise<GroupMeta | undefined> {
    return this.#groups.read(groupUuid);
  }

  renewGroup(groupUuid: string, expiresInSeconds: number): Promise<void> {
    return this.#groups.renew(groupUuid, expiresInSeconds);
  }

  /** @throws MachineryError ERR_MACHINERY_GROUP_EXPIRED, and as all calls. */
  claimChord(groupUuid: string, claimant: string): Promise<ChordClaim> {
    return this.#groups.claim(groupUuid, claimant);
  }

  finishChord(groupUuid: string): Promise<void> {
    return this.#groups.finish(groupUuid);
  }

  /** Ends the connections, after the answers that are due. */
  close(): Promise<void> {
    this.#closed ??= this.#servers.close();
    return this.#closed;
  }

  #encoded(state: TaskState): string {
    const text = encodeState(state);
    const bytes = text.length * 3 <= this.#maxBytes ? 0 : Buffer.byteLength(text);
    if (bytes <= this.#maxBytes) return text;
    const why = `The ${state.state} state of task ${state.taskName} (${state.taskUuid}) has ${bytes} bytes, the backend takes at most ${this.#maxBytes}`;
    throw new MachineryError('ERR_MACHINERY_STATE_TOO_LARGE', why);
  }

  /** Undefined for what is no state: whoever waits for it cannot be helped, and the others must not suffer. */
  #decoded(text: string, taskUuid: string): TaskState | undefined {
    try {
      return decodeState(text);
    } catch (error) {
      this.#logger.warn(`The key ${taskUuid} holds no state of a task: ${errorText(error)}`);
      return undefined;
    }
  }

  /** Others are read together with it, so it is no error. */
  #canBeKey(taskUuid: string): boolean {
    const problem = keyProblem(taskUuid);
    if (problem === undefined) return true;
    if (!this.#hasWarnedOfKey) this.#logger.warn(`${refusedKey(taskUuid, 'task', problem)}: it has no state`);
    this.#hasWarnedOfKey = true;
    return false;
  }

  #checkOpen(): void {
    if (this.#closed) throw closed();
  }
}

/** Whether nothing of what is stored needs to be kept: PENDING starts over, and a final state says all. */
function isWhole({ state, createdAt, taskName }: TaskState): boolean {
  return state === 'PENDING' || (isFinal(state) && createdAt !== undefined && taskName !== '');
}

function attempt<T>(step: () => T, otherwise: (error: unknown) => T): T {
  try {
    return step();
  } catch (error) {
    return otherwise(error);
  }
}

function outcomeOf(error: unknown): Outcome {
  if (MachineryError.is(error)) return failed(error, error.code === 'ERR_MACHINERY_BACKEND_UNAVAILABLE');
  const why = `A state cannot be encoded: ${errorText(error)}`;
  return failed(new MachineryError('ERR_MACHINERY_BACKEND_FAILED', why, { cause: error }), false);
}
