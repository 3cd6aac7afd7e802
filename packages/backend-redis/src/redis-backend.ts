// States and group metas as Go Machinery stores them in Redis: JSON under their UUIDs, with an expiry. States of one batch
// go in one call where they can. A final state is written blindly; what has to be merged is read first, and written if it is still
// what was read.

import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Backend,
  type BackendCapabilities,
  booleanOption,
  type ChordClaim,
  type ContractVersion,
  checkOptions,
  consoleLogger,
  contractVersion,
  decodeGroupMeta,
  decodeState,
  encodeGroupMetaCanonical,
  encodeState,
  errorText,
  failed,
  type GroupMeta,
  isFinal,
  type Logger,
  MachineryError,
  mergeState,
  type Outcome,
  optionalOption,
  type StateWrite,
  stored,
  type TaskState,
  UnderWay,
} from '@machinery/core';
import {
  connectionChecks,
  connectRedis,
  type LendsStates,
  type RedisClient,
  type RedisConnection,
  type RedisConnectionOptions,
  redisError,
  runScript,
  slotTag,
  statesOnServer,
} from '@machinery/redis-client';
import { claimChord, claimChordInCluster, finishChord, replaceState, storeStates } from './scripts.ts';
import { channelOf, payloadOf, Watches } from './watches.ts';

export interface RedisBackendOptions extends RedisConnectionOptions {
  /**
   * Publishes the end of each task, so that who waits for it need not poll. Default: true. What Go's workers finish is
   * found by polling.
   */
  readonly push?: boolean;
}

/** Go: TriggerChord holds it, for all groups. */
const goMutex = 'TriggerChordMutex';
/** How often a claim asks again while a Go worker decides, at about 30 ms each: Go's mutex expires after 8 s. */
const claimTries = 300;
/** The most states, and characters of them, that are stored with one call: Redis does nothing else meanwhile. */
const storeSize = 500;
const storeLength = 1_000_000;
/** How long `close` waits for what is being written, in milliseconds. */
const closingMs = 1_000;

/** States that are stored with one call. */
interface Chunk {
  readonly expiresInSeconds: number;
  /** Whether their ends are said. */
  readonly said: boolean;
  readonly keys: string[];
  readonly texts: string[];
  /** Their places among the writes. */
  readonly places: number[];
  length: number;
}

/** A result backend on Redis, shared with Go's workers and clients. */
export class RedisBackend implements Backend, LendsStates {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name: string = '@machinery/backend-redis';
  readonly capabilities: BackendCapabilities;
  readonly #connection: RedisConnection;
  readonly #watches: Watches | undefined;
  #logger: Logger = consoleLogger;
  #closed = false;
  readonly #writing = new UnderWay();
  /** Claims that wait for Go's mutex, one at a time: Go gives up when it finds it taken too often. */
  #waiting: Promise<unknown> = Promise.resolve();

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: RedisBackendOptions) {
    checkOptions('RedisBackend', options, { ...connectionChecks, push: optionalOption(booleanOption) });
    const { push = true } = options;
    this.#connection = connectRedis('RedisBackend', options);
    this.#watches = push
      ? new Watches({
          connect: () => connectRedis('RedisBackend', options),
          get: (taskUuid) => this.#call('read a state', (client) => client.get(taskUuid)),
          decode: (text, taskUuid) => this.#decoded(text, taskUuid),
        })
      : undefined;
    if (!push) Object.defineProperty(this, 'watch', { value: undefined });
    this.capabilities = Object.freeze({ storesResults: true, ...(push && { push }) });
  }

  attach({ logger }: { readonly logger: Logger }): void {
    this.#logger = logger;
  }

  /** @internal */
  [statesOnServer](connection: RedisConnection): ((state: TaskState) => string) | undefined {
    const isWrapped = !(#connection in this) || this.write !== RedisBackend.prototype.write;
    if (isWrapped || !connection.sharesDatabaseWith(this.#connection)) return undefined;
    return (state) => {
      if (this.#closed) throw closed();
      return encodeState(state);
    };
  }

  /** Failures are ERR_MACHINERY_BACKEND_UNAVAILABLE, which may pass, ERR_MACHINERY_BACKEND_FAILED and ERR_MACHINERY_CLOSED. */
  write(writes: readonly StateWrite[]): Promise<Outcome[]> {
    return this.#writing.during(() => this.#write(writes));
  }

  async #write(writes: readonly StateWrite[]): Promise<Outcome[]> {
    if (this.#closed) return writes.map(() => failed(closed(), false));
    const outcomes = new Array<Outcome>(writes.length);
    const alone: number[] = [];
    const storing = this.#chunks(writes, alone).map((chunk) => this.#storeChunk(chunk, writes, outcomes));
    await Promise.all([...storing, ...alone.map((place) => this.#storeAlone(writes, place, outcomes))]);
    return outcomes;
  }

  /** What is stored with one call: as much as can be. @param alone gets the places of the others. */
  #chunks(writes: readonly StateWrite[], alone: number[]): Chunk[] {
    const chunks: Chunk[] = [];
    const open = new Map<number, Chunk>();
    for (let place = 0; place < writes.length; place++) {
      const { state, expiresInSeconds } = writes[place] as StateWrite;
      if (this.#connection.isCluster || !isWhole(state)) {
        alone.push(place);
        continue;
      }
      const text = encodeState(state);
      const said = this.#isSaid(state);
      const kind = expiresInSeconds * 2 + Number(said);
      let chunk = open.get(kind);
      if (chunk === undefined || chunk.keys.length === storeSize || chunk.length + text.length > storeLength) {
        chunk = { expiresInSeconds, said, keys: [], texts: [], places: [], length: 0 };
        open.set(kind, chunk);
        chunks.push(chunk);
      }
      chunk.keys.push(state.taskUuid);
      chunk.texts.push(text);
      chunk.places.push(place);
      chunk.length += text.length;
    }
    return chunks;
  }

  /** What Redis refuses of several, it may refuse for one of them: then each is stored by itself. */
  async #storeChunk(chunk: Chunk, writes: readonly StateWrite[], outcomes: Outcome[]): Promise<void> {
    const { keys, places } = chunk;
    const together = await this.#outcomeOf(`store ${keys.length} states`, () => this.#storeAll(chunk));
    if (together.status !== 'failed' || together.retryable) for (const place of places) outcomes[place] = together;
    else await Promise.all(places.map((place) => this.#storeAlone(writes, place, outcomes)));
  }

  async #storeAlone(writes: readonly StateWrite[], place: number, outcomes: Outcome[]): Promise<void> {
    const write = writes[place] as StateWrite;
    const doing = `store the state of task ${write.state.taskUuid}`;
    outcomes[place] = await this.#outcomeOf(doing, () => this.#store(write));
  }

  async #outcomeOf(doing: string, store: () => Promise<void>): Promise<Outcome> {
    try {
      await store();
      return stored;
    } catch (error) {
      const failure = redisError('backend', doing, error);
      return failed(failure, failure.code === 'ERR_MACHINERY_BACKEND_UNAVAILABLE');
    }
  }

  async read(taskUuids: readonly string[]): Promise<(TaskState | undefined)[]> {
    const texts = await this.#call('read states', (client) => this.#getAll(client, taskUuids));
    return texts.map((text, i) => (text === null ? undefined : this.#decoded(text, taskUuids[i] as string)));
  }

  async purge({
    tasks = [],
    groups = [],
  }: {
    readonly tasks?: readonly string[];
    readonly groups?: readonly string[];
  }): Promise<void> {
    const keys = [...tasks, ...groups, ...groups.map(claimKey)];
    await this.#call('remove states', (client) => Promise.all(keys.map((key) => client.unlink(key))));
  }

  async initGroup(meta: GroupMeta, expiresInSeconds: number): Promise<void> {
    const { groupUuid } = meta;
    // Canonical: the scripts, and Go, look for its ChordTriggered.
    const text = encodeGroupMetaCanonical(meta);
    await this.#call(`store group ${groupUuid}`, (client) =>
      Promise.all([client.set(groupUuid, text, 'EX', expiresInSeconds), client.unlink(claimKey(groupUuid))]),
    );
  }

  /** Ours set Go's flag with the claim: until the callback is sent, this says that it is not. */
  async readGroup(groupUuid: string): Promise<GroupMeta | undefined> {
    const keys = [groupUuid, claimKey(groupUuid)];
    const [text, claim] = await this.#call(`read group ${groupUuid}`, (client) => this.#getAll(client, keys));
    if (text === null || text === undefined) return undefined;
    const meta = decodedMeta(text, groupUuid);
    return claim?.startsWith('member ') ? { ...meta, chordTriggered: false } : meta;
  }

  async renewGroup(groupUuid: string, expiresInSeconds: number): Promise<void> {
    const keys = [groupUuid, claimKey(groupUuid)];
    await this.#call(`renew group ${groupUuid}`, (client) =>
      Promise.all(keys.map((key) => client.expire(key, expiresInSeconds, 'GT'))),
    );
  }

  /** @throws MachineryError ERR_MACHINERY_GROUP_EXPIRED, and as all calls. */
  async claimChord(groupUuid: string, claimant: string): Promise<ChordClaim> {
    const answer = await this.#claim(groupUuid, claimant);
    if (answer !== 'busy') return answer;
    const claimed = this.#waiting.then(() => this.#claimAfterGo(groupUuid, claimant));
    this.#waiting = claimed.catch(() => {});
    return claimed;
  }

  async finishChord(groupUuid: string): Promise<void> {
    await this.#call(`finish the chord of group ${groupUuid}`, (client) =>
      runScript(client, finishChord, groupUuid, claimKey(groupUuid)),
    );
  }

  watch(taskUuid: string, listener: (state: TaskState) => void): () => void {
    return (this.#watches as Watches).add(taskUuid, listener);
  }

  /** Ends the connections, after what is being written is written. */
  async close(): Promise<void> {
    this.#closed = true;
    const timer = new AbortController();
    const late = sleep(closingMs, undefined, { signal: timer.signal, ref: false }).catch(() => {});
    await Promise.race([this.#writing.none(), late]);
    timer.abort();
    await Promise.all([this.#connection.close(), this.#watches?.close()]);
  }

  async #storeAll({ keys, texts, said, expiresInSeconds }: Chunk): Promise<void> {
    const script = { ...storeStates, keys: keys.length };
    await runScript(this.#connection.client, script, ...keys, said ? 1 : 0, expiresInSeconds, ...texts);
  }

  async #store(write: StateWrite): Promise<void> {
    const { client } = this.#connection;
    const { state } = write;
    await (isWhole(state) ? this.#overwrite(client, write, encodeState(state)) : this.#merge(client, write));
  }

  async #merge(client: RedisClient, write: StateWrite): Promise<void> {
    const { state } = write;
    const { taskUuid } = state;
    for (;;) {
      const before = await client.get(taskUuid);
      const current = before === null ? undefined : this.#decoded(before, taskUuid);
      const merged = mergeState(current, state);
      if (merged === current) return;
      // What is no state may be no text either, and would never be what was read
      if (before !== null && current === undefined) return this.#overwrite(client, write, encodeState(state));
      const { expiresInSeconds } = write;
      const text = encodeState(merged);
      const args = [before ?? '', text, expiresInSeconds];
      if ((await runScript(client, replaceState, taskUuid, ...args)) === 1) return this.#say(client, merged, text);
    }
  }

  async #overwrite(client: RedisClient, { state, expiresInSeconds }: StateWrite, text: string): Promise<void> {
    const set = client.set(state.taskUuid, text, 'EX', expiresInSeconds);
    if (this.#connection.isCluster) await set; // the channel is another node's: who waits would read too early
    await Promise.all([set, this.#say(client, state, text)]);
  }

  /** Nobody may be listening, and nobody relies on it. */
  async #say(client: RedisClient, state: TaskState, text: string): Promise<void> {
    const { taskUuid } = state;
    if (!this.#isSaid(state)) return;
    // In a Cluster, a message may come after the next send's PENDING: who waits looks
    const payload = this.#connection.isCluster ? taskUuid : payloadOf(taskUuid, text);
    await client.publish(channelOf(taskUuid), payload).catch(() => {});
  }

  #isSaid({ state }: TaskState): boolean {
    return this.#watches !== undefined && isFinal(state);
  }

  async #claim(groupUuid: string, claimant: string): Promise<ChordClaim | 'busy'> {
    const keys = [groupUuid, claimKey(groupUuid)];
    const answer = await this.#call(`claim the chord of group ${groupUuid}`, async (client) => {
      if (!this.#connection.isCluster) return runScript(client, claimChord, ...keys, goMutex, claimant);
      if ((await client.exists(goMutex)) === 1) return 'busy';
      return runScript(client, claimChordInCluster, ...keys, claimant);
    });
    if (answer === 'gone')
      throw new MachineryError('ERR_MACHINERY_GROUP_EXPIRED', `Group ${groupUuid} is not there or has expired`);
    return answer as ChordClaim | 'busy';
  }

  async #claimAfterGo(groupUuid: string, claimant: string): Promise<ChordClaim> {
    for (let tries = 0; tries < claimTries; tries++) {
      const answer = await this.#claim(groupUuid, claimant);
      if (answer !== 'busy') return answer;
      await sleep(20 + Math.random() * 20);
    }
    const text = `Group ${groupUuid}: ${goMutex} is held all the time, by workers of Go that decide on chords`;
    throw new MachineryError('ERR_MACHINERY_BACKEND_UNAVAILABLE', text);
  }

  async #getAll(client: RedisClient, keys: readonly string[]): Promise<(string | null)[]> {
    if (keys.length === 0) return [];
    return this.#connection.isCluster ? Promise.all(keys.map((key) => client.get(key))) : client.mget(...keys);
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

  async #call<T>(doing: string, call: (client: RedisClient) => Promise<T>): Promise<T> {
    if (this.#closed) throw closed();
    try {
      return await call(this.#connection.client);
    } catch (error) {
      throw redisError('backend', doing, error);
    }
  }
}

/** Whether nothing of what is stored needs to be kept: PENDING starts over, and a final state says all. */
function isWhole({ state, createdAt, taskName }: TaskState): boolean {
  return state === 'PENDING' || (isFinal(state) && createdAt !== undefined && taskName !== '');
}

/** In the slot of the group. */
function claimKey(groupUuid: string): string {
  return `${slotTag(groupUuid)}:claim`;
}

function decodedMeta(text: string, groupUuid: string): GroupMeta {
  try {
    return decodeGroupMeta(text);
  } catch (cause) {
    const why = `The key of group ${groupUuid} holds no meta of a group: ${errorText(cause)}`;
    throw new MachineryError('ERR_MACHINERY_BACKEND_FAILED', why, { cause });
  }
}

function closed(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The Redis backend is closed');
}
