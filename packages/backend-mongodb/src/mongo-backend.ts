// States and group metas as documents in the collections of Go Machinery. The rule which of two states wins is in the filter of
// each write: MongoDB looks at a document and changes it in one step. States of one batch go in one request.

import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Backend,
  type BackendCapabilities,
  type ChordClaim,
  type ContractVersion,
  checkOptions,
  consoleLogger,
  contractVersion,
  encodeState as encodeStateText,
  errorText,
  failed,
  type GroupMeta,
  integerOption,
  isFinal,
  type Logger,
  MachineryError,
  type Outcome,
  objectOption,
  optionalOption,
  type StateWrite,
  stored,
  stringOption,
  type TaskState,
  UnderWay,
} from '@machinery/core';
import {
  type AnyBulkWriteOperation,
  BSON,
  type Collection,
  type CollectionOptions,
  type Filter,
  type MongoBulkWriteError,
  type MongoClient,
  type UpdateFilter,
} from 'mongodb';
import { connectMongo, databaseOf } from './client.ts';
import {
  decodeGroup,
  decodeState,
  encodeGroup,
  encodeState,
  type GroupDocument,
  hasExpired,
  type StateDocument,
  type StateFields,
} from './documents.ts';
import { duplicateKey, mongoError } from './errors.ts';

export interface MongoBackendOptions {
  /**
   * `mongodb://[user:password@]host[:port][,host[:port]…][/database][?options]`, or `mongodb+srv://`; without a scheme it is the former, as
   * in Go. The driver's options in it win over those below.
   */
  readonly url?: string;
  /** A client of the driver, in place of `url`. It is connected when it is not, and not closed. */
  readonly client?: MongoClient;
  /** Default: the one of `url`, else `machinery`. Go does not look at the URL for it. */
  readonly database?: string;
  /** The collection of states. Default: `tasks`, which Go always has. */
  readonly tasksCollection?: string;
  /** The collection of groups. Default: `group_metas`, which Go always has. */
  readonly groupMetasCollection?: string;
  /** How long connecting, or finding a primary, may take, in milliseconds. Default: 5,000. */
  readonly connectTimeoutMs?: number;
  /** How long an answer may take, in milliseconds, before the server counts as away. Default: 10,000. */
  readonly commandTimeoutMs?: number;
}

const maxStateBytes = 16_000_000;
/** A document has at most 16 MiB; what an update is wrapped in takes some of that. */
const maxDocumentBytes = 16 * 1024 * 1024 - 16_384;
/** Shorter states are not measured as documents: an element of a slice has 2 bytes of JSON at least, and 16 of BSON at most. */
const surelySmall = 1_000_000;
/** How many documents are removed with one request. */
const purgeSize = 10_000;
/** How long `close` waits for what is being written, in milliseconds. */
const closingMs = 1_000;

/** One update: of the document where the filter finds it, else a new one, unless it is there all the same and has won. */
interface StateUpdate {
  readonly filter: Filter<StateDocument>;
  readonly update: UpdateFilter<StateDocument>;
  /** Whether what is stored may win. */
  readonly mayLose: boolean;
  readonly taskUuid: string;
}

/** Why one of a batch was not stored: its document is there, and the filter did not find it; or something else. */
type Refusal = 'is there' | 'unknown';

/** A result backend on MongoDB, shared with Go's workers and clients. */
export class MongoBackend implements Backend {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/backend-mongodb';
  readonly capabilities: BackendCapabilities = Object.freeze({
    storesResults: true,
    maxStateBytes,
    maxGroupSize: 100_000,
  });
  readonly #client: MongoClient;
  readonly #ownsClient: boolean;
  readonly #tasks: Collection<StateDocument>;
  readonly #groups: Collection<GroupDocument>;
  readonly #underWay = new UnderWay();
  #connected: Promise<unknown> | undefined;
  #hasIndexes = false;
  #logger: Logger = consoleLogger;
  #closed: Promise<void> | undefined;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION, without the password. */
  constructor(options: MongoBackendOptions) {
    checkOptions('MongoBackend', options, {
      url: optionalOption(stringOption),
      client: optionalOption(objectOption),
      database: optionalOption(stringOption),
      tasksCollection: optionalOption(stringOption),
      groupMetasCollection: optionalOption(stringOption),
      connectTimeoutMs: optionalOption(integerOption({ min: 1 })),
      commandTimeoutMs: optionalOption(integerOption({ min: 1 })),
    });
    const { tasksCollection = 'tasks', groupMetasCollection = 'group_metas', commandTimeoutMs = 10_000 } = options;
    this.#client = connectMongo(options);
    this.#ownsClient = options.client === undefined;
    const database = this.#client.db(databaseOf(options));
    const settings: CollectionOptions = {
      readPreference: 'primary',
      writeConcern: this.#client.options.writeConcern ?? { w: 'majority', wtimeoutMS: commandTimeoutMs },
      // Whatever a given client has: 64 bits are no double, and bytes are told from texts
      useBigInt64: true,
      promoteLongs: true,
      promoteValues: true,
      promoteBuffers: false,
    };
    this.#tasks = database.collection(tasksCollection, settings);
    this.#groups = database.collection(groupMetasCollection, settings);
  }

  attach({ logger }: { readonly logger: Logger }): void {
    this.#logger = logger;
  }

  /** Failures are ERR_MACHINERY_BACKEND_UNAVAILABLE, which may pass, ERR_MACHINERY_BACKEND_FAILED and ERR_MACHINERY_CLOSED. */
  async write(writes: readonly StateWrite[]): Promise<Outcome[]> {
    const outcomes = new Array<Outcome>(writes.length);
    const updates: StateUpdate[] = [];
    const places: number[] = [];
    for (const [place, { state, expiresInSeconds }] of writes.entries()) {
      const fields = encodeState(state, expiryOf(expiresInSeconds));
      if (isTooLarge(state, fields)) {
        outcomes[place] = failed(tooLarge(state), false);
        continue;
      }
      updates.push(updateOf(state, fields));
      places.push(place);
    }
    const written = await this.#underWay.during(() => this.#store(updates));
    for (const [i, outcome] of written.entries()) outcomes[places[i] as number] = outcome;
    return outcomes;
  }

  read(taskUuids: readonly string[]): Promise<(TaskState | undefined)[]> {
    return this.#call('read states', async () => {
      if (taskUuids.length === 0) return [];
      // All in the first answer: by default it has 101
      const found = this.#tasks.find({ _id: { $in: taskUuids } }, { batchSize: taskUuids.length + 1 });
      const documents = new Map<string, StateDocument>();
      for (const document of await found.toArray()) documents.set(document._id, document);
      return taskUuids.map((taskUuid) => this.#decoded(documents.get(taskUuid)));
    });
  }

  async purge({
    tasks = [],
    groups = [],
  }: {
    readonly tasks?: readonly string[];
    readonly groups?: readonly string[];
  }): Promise<void> {
    await this.#call('remove states', async () => {
      for (const uuids of chunksOf(tasks)) await this.#tasks.deleteMany({ _id: { $in: uuids } });
      for (const uuids of chunksOf(groups)) await this.#groups.deleteMany({ _id: { $in: uuids } });
    });
  }

  async initGroup(meta: GroupMeta, expiresInSeconds: number): Promise<void> {
    const { groupUuid, taskUuids } = meta;
    const document = encodeGroup(meta, expiryOf(expiresInSeconds));
    await this.#call(`store group ${groupUuid}`, async () => {
      const bytes = BSON.calculateObjectSize(document);
      if (bytes > maxDocumentBytes) {
        const text = `Group ${groupUuid} has ${taskUuids.length} members, whose UUIDs take ${bytes} bytes: a document of MongoDB has at most 16 MiB`;
        throw new MachineryError('ERR_MACHINERY_STATE_TOO_LARGE', text);
      }
      await this.#groups.replaceOne({ _id: groupUuid }, document, { upsert: true });
    });
  }

  readGroup(groupUuid: string): Promise<GroupMeta | undefined> {
    return this.#call(`read group ${groupUuid}`, async () => {
      const document = await this.#groups.findOne({ _id: groupUuid });
      return document === null ? undefined : decodeGroup(document);
    });
  }

  async renewGroup(groupUuid: string, expiresInSeconds: number): Promise<void> {
    const isThere = { _id: groupUuid, delete_at: { $gt: new Date() } };
    await this.#call(`renew group ${groupUuid}`, () =>
      this.#groups.updateOne(isThere, { $max: { delete_at: expiryOf(expiresInSeconds) } }),
    );
  }

  /** @throws MachineryError ERR_MACHINERY_GROUP_EXPIRED, and as all calls. */
  claimChord(groupUuid: string, claimant: string): Promise<ChordClaim> {
    return this.#call(`claim the chord of group ${groupUuid}`, async () => {
      for (;;) {
        const isFree: Filter<GroupDocument> = {
          _id: groupUuid,
          chord_triggered: { $ne: true },
          claim: { $in: [null, claimant] }, // null: there is none
          delete_at: { $not: { $lte: new Date() } }, // Go's metas have none
        };
        const { matchedCount } = await this.#groups.updateOne(isFree, { $set: { claim: claimant } });
        if (matchedCount === 1) return 'claimed';
        const group = await this.#groups.findOne({ _id: groupUuid }, { projection: { task_uuids: 0 } });
        if (group === null || hasExpired(group))
          throw new MachineryError('ERR_MACHINERY_GROUP_EXPIRED', `Group ${groupUuid} is not there or has expired`);
        if (group.chord_triggered) return 'done';
        if ((group.claim ?? claimant) !== claimant) return 'other';
        // It was sent again meanwhile
      }
    });
  }

  async finishChord(groupUuid: string): Promise<void> {
    await this.#call(`finish the chord of group ${groupUuid}`, () =>
      this.#groups.updateOne({ _id: groupUuid }, { $set: { chord_triggered: true } }),
    );
  }

  /** Ends the connections, after what is being written is written. */
  close(): Promise<void> {
    this.#closed ??= this.#end();
    return this.#closed;
  }

  async #end(): Promise<void> {
    const timer = new AbortController();
    const late = sleep(closingMs, undefined, { signal: timer.signal, ref: false }).catch(() => {});
    await Promise.race([this.#underWay.none(), late]);
    timer.abort();
    if (this.#ownsClient) await this.#client.close();
  }

  /** All in one request. What is refused of it is tried by itself: which it was is not always said. */
  async #store(updates: readonly StateUpdate[]): Promise<Outcome[]> {
    if (updates.length === 0) return [];
    let refused: readonly (Refusal | undefined)[];
    try {
      await this.#ready();
      await this.#tasks.bulkWrite(updates.map(operationOf), { ordered: false });
      return updates.map(() => stored);
    } catch (error) {
      const failure = this.#errorOf(`store ${updates.length} state(s)`, error);
      if (failure.code !== 'ERR_MACHINERY_BACKEND_FAILED') return updates.map(() => outcomeOf(failure));
      refused = refusedBy(error, updates.length);
    }
    return Promise.all(
      updates.map((update, place) => {
        const refusal = refused[place];
        return refusal === undefined ? stored : this.#storeAlone(update, refusal);
      }),
    );
  }

  /** Where the filter found nothing, a new document is inserted: refused where one has won, or another was inserted meanwhile. */
  async #storeAlone({ filter, update, mayLose, taskUuid }: StateUpdate, refusal: Refusal): Promise<Outcome> {
    const replace = () => this.#tasks.updateOne(filter, update);
    const upsert = () =>
      this.#tasks.updateOne(filter, update, { upsert: true }).catch((error) => {
        if ((error as { code?: unknown }).code !== duplicateKey) throw error;
        return replace();
      });
    try {
      const { matchedCount, upsertedCount } = await (refusal === 'is there' ? replace() : upsert());
      if (matchedCount + upsertedCount > 0 || mayLose) return stored;
      const text = `The state of task ${taskUuid} was removed while it was being stored`;
      throw new MachineryError('ERR_MACHINERY_BACKEND_UNAVAILABLE', text);
    } catch (error) {
      return outcomeOf(this.#errorOf(`store the state of task ${taskUuid}`, error));
    }
  }

  /** Undefined for what is no state: whoever waits for it cannot be helped, and the others must not suffer. */
  #decoded(document: StateDocument | undefined): TaskState | undefined {
    if (document === undefined) return undefined;
    try {
      return decodeState(document);
    } catch (error) {
      this.#logger.warn(`The document ${document._id} holds no state of a task: ${errorText(error)}`);
      return undefined;
    }
  }

  #call<T>(doing: string, call: () => Promise<T>): Promise<T> {
    const calling = async () => {
      try {
        await this.#ready();
        return await call();
      } catch (error) {
        throw this.#errorOf(doing, error);
      }
    };
    return this.#underWay.during(calling);
  }

  async #ready(): Promise<void> {
    if (this.#closed !== undefined) throw closed();
    // By itself the driver connects once: a server that was away then would be away for ever
    this.#connected ??= this.#client.connect().catch((error) => {
      this.#connected = undefined;
      throw error;
    });
    await this.#connected;
    if (this.#hasIndexes) return;
    this.#hasIndexes = true;
    void this.#underWay.during(() => Promise.all([this.#createIndex(this.#tasks), this.#createIndex(this.#groups)]));
  }

  /** Nobody waits for it: it only removes what is no longer read. */
  async #createIndex(collection: Collection<StateDocument> | Collection<GroupDocument>): Promise<void> {
    try {
      await collection.createIndex({ delete_at: 1 }, { expireAfterSeconds: 0 });
    } catch (error) {
      const doing = `create the TTL index of ${collection.namespace}`;
      const { code, message } = this.#errorOf(doing, error);
      if (code === 'ERR_MACHINERY_BACKEND_UNAVAILABLE') this.#hasIndexes = false;
      else if (code !== 'ERR_MACHINERY_CLOSED')
        this.#logger.warn(`${message}. What has expired is not read, but somebody has to remove it`);
    }
  }

  #errorOf(doing: string, error: unknown): MachineryError {
    return this.#closed === undefined ? mongoError(doing, error) : closed();
  }
}

/**
 * `mergeState` as an update. What is stored wins over RECEIVED, STARTED and RETRY when it is final, of the same send and has not expired: then the
 * filter does not find it. What the state lacks is removed, but for the name and the time of sending, which are kept unless it starts over.
 */
function updateOf(state: TaskState, fields: StateFields): StateUpdate {
  const { taskUuid, createdAt } = state;
  const startsOver = state.state === 'PENDING';
  const mayLose = !startsOver && !isFinal(state.state) && createdAt !== undefined;
  const absent = [
    'results',
    'error',
    'attempt',
    'retry_eta',
    'retry_count',
    ...(startsOver ? ['task_name', 'created_at'] : []),
  ];
  const unset = absent.filter((name) => !(name in fields)).map((name) => [name, true] as const);
  return {
    taskUuid,
    mayLose,
    filter: {
      _id: taskUuid,
      ...(mayLose && {
        $or: [
          { state: { $nin: ['SUCCESS', 'FAILURE'] } },
          { created_at: { $ne: new Date(createdAt) } },
          { delete_at: { $lte: new Date() } },
        ],
      }),
    },
    update: { $set: fields, ...(unset.length > 0 && { $unset: Object.fromEntries(unset) }) },
  };
}

function operationOf({ filter, update }: StateUpdate): AnyBulkWriteOperation<StateDocument> {
  return { updateOne: { filter, update, upsert: true } };
}

/** Which of a batch were not stored. All may be, where the answer does not speak of each: FerretDB stops at the first and names another. */
function refusedBy(error: unknown, count: number): readonly (Refusal | undefined)[] {
  const refused = new Array<Refusal | undefined>(count).fill('unknown');
  if ((error as Error).name !== 'MongoBulkWriteError') return refused;
  const { result, matchedCount, upsertedCount, writeErrors } = error as MongoBulkWriteError;
  const errors = [writeErrors].flat();
  if (matchedCount + upsertedCount + errors.length !== count || result.getWriteConcernError() !== undefined)
    return refused;
  refused.fill(undefined);
  for (const { index, code } of errors) refused[index] = code === duplicateKey ? 'is there' : 'unknown';
  return refused;
}

function outcomeOf(error: MachineryError): Outcome {
  return failed(error, error.code === 'ERR_MACHINERY_BACKEND_UNAVAILABLE');
}

function isTooLarge(state: TaskState, fields: StateFields): boolean {
  if (state.results === undefined && state.error === undefined) return false;
  const text = encodeStateText(state);
  if (text.length < surelySmall) return false;
  return Buffer.byteLength(text) > maxStateBytes || BSON.calculateObjectSize(fields) > maxDocumentBytes;
}

function tooLarge({ taskUuid, state }: TaskState): MachineryError {
  const text = `The state ${state} of task ${taskUuid} is too large: MongoDB's documents have at most 16 MiB, and states ${maxStateBytes} bytes of JSON`;
  return new MachineryError('ERR_MACHINERY_STATE_TOO_LARGE', text);
}

function expiryOf(expiresInSeconds: number): Date {
  return new Date(Date.now() + expiresInSeconds * 1_000);
}

function chunksOf(uuids: readonly string[]): string[][] {
  return Array.from({ length: Math.ceil(uuids.length / purgeSize) }, (_, i) =>
    uuids.slice(i * purgeSize, (i + 1) * purgeSize),
  );
}

function closed(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The MongoDB backend is closed');
}
