// States of tasks as Go Machinery keeps them in RabbitMQ: each a message in a queue named by the task, which reading takes off. All
// messages of a queue are read together and merged, also with what this process has read before.
//
// Neighbours: `state-queues.ts` (declaring, taking), `state-cache.ts` (what was taken), `group-states.ts` (states of a chord's members),
// `group-records.ts` (metas and claims).

import {
  AmqpConnection,
  type AmqpConnectionOptions,
  ChannelPool,
  connectionChecks,
  Publisher,
  type Sending,
  Unroutable,
} from '@machinery/amqp-client';
import {
  type Backend,
  type BackendCapabilities,
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
  integerOption,
  isFinal,
  type Logger,
  MachineryError,
  mergeState,
  type Outcome,
  optionalOption,
  type StateGroup,
  type StateWrite,
  type TakenGroup,
  type TaskState,
  UnderWay,
} from '@machinery/core';
import type { GetMessage } from 'amqplib';
import { type GroupRecord, GroupRecords, triggeredQueue } from './group-records.ts';
import { GroupStates } from './group-states.ts';
import { StateCache } from './state-cache.ts';
import { StateQueues, stateQueue } from './state-queues.ts';

export interface AmqpBackendOptions extends AmqpConnectionOptions {
  /**
   * How long a queue of states is kept when nobody uses it, in seconds: as the server's `resultsExpireInSeconds`, and as
   * everybody's who uses the queues, Go's too. Default: 3,600.
   */
  readonly resultsExpireInSeconds?: number;
  /** How many channels declare and read at once, and as many more look at groups. Default: 8. */
  readonly channels?: number;
}

/** How long the server may take to confirm a state, in milliseconds. */
const confirmTimeoutMs = 30_000;
/** The longest time to live, in milliseconds. */
const maxTtlMs = 2 ** 32 - 1;

/** A result backend on RabbitMQ, shared with Go's workers and clients. */
export class AmqpBackend implements Backend {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/backend-amqp';
  readonly capabilities: BackendCapabilities = Object.freeze({
    storesResults: true,
    readConsumes: true,
    takesGroups: true,
  });
  readonly #publishing: AmqpConnection;
  /** Declares and reads: what publishes is not read by the server while it has an alarm. */
  readonly #reading: AmqpConnection;
  readonly #publisher: Publisher;
  readonly #queues: StateQueues;
  readonly #groups: GroupRecords;
  readonly #groupStates: GroupStates;
  readonly #cache = new StateCache();
  readonly #expiresInMs: number;
  /** Of each task, the read under way: another one would find nothing. */
  readonly #reads = new Map<string, Promise<TaskState | undefined>>();
  readonly #underWay = new UnderWay();
  #logger: Logger = consoleLogger;
  #hasWarned = false;
  #closed: Promise<void> | undefined;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: AmqpBackendOptions) {
    checkOptions('AmqpBackend', options, {
      ...connectionChecks,
      resultsExpireInSeconds: optionalOption(integerOption({ min: 1, max: Math.floor(maxTtlMs / 1_000) })),
      channels: optionalOption(integerOption({ min: 1, max: 1_000 })),
    });
    const { resultsExpireInSeconds = 3_600, channels = 8 } = options;
    this.#expiresInMs = resultsExpireInSeconds * 1_000;
    this.#publishing = new AmqpConnection('AmqpBackend', 'backend', options, 'publishing results');
    this.#reading = new AmqpConnection('AmqpBackend', 'backend', options, 'reading results');
    this.#publisher = new Publisher(this.#publishing, confirmTimeoutMs, () => {});
    const newPool = () => new ChannelPool(this.#reading, channels);
    this.#queues = new StateQueues(newPool(), this.#expiresInMs, () => this.#logger);
    this.#groups = new GroupRecords(newPool(), this.#queues, this.#publisher);
    this.#groupStates = new GroupStates(this.#reading, this.#queues, (...message) => this.#decoded(...message));
  }

  attach({ logger }: { readonly logger: Logger }): void {
    this.#logger = logger;
  }

  write(writes: readonly StateWrite[]): Promise<Outcome[]> {
    return this.#underWay.during(() => this.#write(writes));
  }

  /** The last state of a chord's member goes to its group's queue, too: both are stored, or it is written again. */
  async #write(writes: readonly StateWrite[]): Promise<Outcome[]> {
    const sendings = writes.flatMap((write) => this.#sendingsOf(write)); // before its writer may change it
    const outcomes = await this.#store(sendings);
    let next = 0;
    return writes.map(({ group }) => {
      const own = outcomes[next++] as Outcome;
      const groups = group === undefined ? own : (outcomes[next++] as Outcome);
      return own.status === 'stored' ? groups : own;
    });
  }

  /** Publishes in order. Queues that are there are not declared again; when one is not, after all, that is known by its return. */
  async #store(sendings: readonly StateSending[]): Promise<Outcome[]> {
    const outcomes = await this.#publish(sendings, ({ isDeclared }) => !isDeclared);
    const places = [...outcomes.keys()].filter((i) => isUnroutable(outcomes[i] as Outcome));
    if (places.length === 0) return outcomes;
    const again = await this.#publish(
      places.map((place) => sendings[place] as StateSending),
      () => true,
    );
    for (const [i, place] of places.entries()) outcomes[place] = again[i] as Outcome;
    return outcomes;
  }

  /** Declares queues, then publishes in order. */
  async #publish(
    sendings: readonly StateSending[],
    mustDeclare: (sending: StateSending) => boolean,
  ): Promise<Outcome[]> {
    const declared = await Promise.all(
      sendings.map(async (sending) => {
        if (!mustDeclare(sending)) return undefined;
        return this.#queues.declare(sending.routingKey).then(
          () => undefined,
          (error: MachineryError) => failed(error, error.code === 'ERR_MACHINERY_BACKEND_UNAVAILABLE'),
        );
      }),
    );
    const accepted = sendings.filter((_, i) => declared[i] === undefined);
    const sent = await this.#publisher.send(accepted.map((sending) => () => sending));
    let next = 0;
    return declared.map((failure) => failure ?? (sent[next++] as Outcome));
  }

  read(taskUuids: readonly string[]): Promise<(TaskState | undefined)[]> {
    return this.#call(() => Promise.all(taskUuids.map((taskUuid) => this.#readOne(taskUuid))));
  }

  #readOne(taskUuid: string): Promise<TaskState | undefined> {
    let reading = this.#reads.get(taskUuid);
    if (reading === undefined) {
      reading = this.#take(taskUuid).finally(() => this.#reads.delete(taskUuid));
      this.#reads.set(taskUuid, reading);
    }
    return reading;
  }

  async #take(taskUuid: string): Promise<TaskState | undefined> {
    const messages = await this.#queues.take(taskUuid);
    let state = this.#cache.get(taskUuid);
    for (const message of messages) {
      const next = this.#decoded(message, taskUuid);
      if (next === undefined) continue;
      state = mergeState(state, next);
      const expiresInMs = Number(message.properties.expiration ?? this.#expiresInMs);
      this.#cache.set(taskUuid, state, message.content.length, expiresInMs);
    }
    return state;
  }

  async purge({
    tasks = [],
    groups = [],
  }: {
    readonly tasks?: readonly string[];
    readonly groups?: readonly string[];
  }): Promise<void> {
    await this.#call(async () => {
      for (const taskUuid of tasks) this.#cache.delete(taskUuid);
      await Promise.all([this.#queues.delete(tasks.map(stateQueue)), this.#groups.delete(groups)]);
    });
  }

  async initGroup(meta: GroupMeta, expiresInSeconds: number): Promise<void> {
    const expiresAtMs = Date.now() + expiresInSeconds * 1_000;
    const record = { meta: encodeGroupMetaCanonical(meta), claim: '', expiresAtMs };
    await this.#call(() => this.#groups.create(meta.groupUuid, record));
  }

  async readGroup(groupUuid: string): Promise<GroupMeta | undefined> {
    const record = await this.#change(groupUuid, (same) => same);
    return record === undefined ? undefined : decodeGroupMeta(record.meta);
  }

  async renewGroup(groupUuid: string, expiresInSeconds: number): Promise<void> {
    const until = Date.now() + expiresInSeconds * 1_000;
    await this.#change(groupUuid, (record) => ({ ...record, expiresAtMs: Math.max(record.expiresAtMs, until) }));
  }

  /** @throws MachineryError ERR_MACHINERY_GROUP_EXPIRED, and as all calls. */
  async claimChord(groupUuid: string, claimant: string): Promise<ChordClaim> {
    const before = await this.#change(groupUuid, (record) =>
      record.claim === '' && !isTriggered(record) ? { ...record, claim: claimant } : record,
    );
    if (before === undefined)
      throw new MachineryError('ERR_MACHINERY_GROUP_EXPIRED', `Group ${groupUuid} is not there or has expired`);
    if (isTriggered(before)) return 'done';
    return before.claim === '' || before.claim === claimant ? 'claimed' : 'other';
  }

  /** A group of Go's clients has no meta: the queue is its flag. */
  async finishChord(groupUuid: string): Promise<void> {
    const args = { 'x-expires': this.#expiresInMs };
    await this.#call(() => this.#queues.declareWith(triggeredQueue(groupUuid), { autoDelete: true, arguments: args }));
    await this.#change(groupUuid, (record) => ({
      ...record,
      meta: encodeGroupMetaCanonical({ ...decodeGroupMeta(record.meta), chordTriggered: true }),
    }));
    await this.#call(() => this.#queues.delete([stateQueue(groupUuid)]));
  }

  async takeGroup(group: StateGroup, again: boolean): Promise<TakenGroup | undefined> {
    const taken = await this.#call(() => this.#groupStates.take(group, again));
    if (taken === undefined) return undefined;
    try {
      const meta = await this.readGroup(group.uuid);
      if (meta === undefined) return { ...taken, inOrder: false };
      const places = new Map(meta.taskUuids.map((uuid, i) => [uuid, i]));
      const placeOf = ({ taskUuid }: TaskState) => places.get(taskUuid) ?? places.size;
      return { ...taken, states: taken.states.toSorted((a, b) => placeOf(a) - placeOf(b)), inOrder: true };
    } catch (error) {
      await taken.release();
      throw error;
    }
  }

  close(): Promise<void> {
    this.#groupStates.close();
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.#underWay.none();
    await Promise.all([this.#publishing.close(), this.#reading.close()]);
  }

  #change(groupUuid: string, change: (record: GroupRecord) => GroupRecord): Promise<GroupRecord | undefined> {
    return this.#call(() => this.#groups.change(groupUuid, change));
  }

  #sendingsOf({ state, expiresInSeconds, group }: StateWrite): StateSending[] {
    const expiresInMs = expiresInSeconds * 1_000;
    if (expiresInMs > this.#expiresInMs && isFinal(state.state)) this.#warnOfExpiry(expiresInSeconds);
    const expiration = String(Math.min(expiresInMs, this.#expiresInMs));
    const content = Buffer.from(encodeState(state));
    return [state.taskUuid, ...(group === undefined ? [] : [group.uuid])].map((uuid) => ({
      exchange: '', // which knows every queue by its name: Go binds them to its exchange, where it publishes
      routingKey: stateQueue(uuid),
      content,
      properties: { persistent: true, contentType: 'application/json', expiration },
      what: `The state of task ${state.taskUuid}`,
      isDeclared: uuid === state.taskUuid && this.#isDeclared(state),
    }));
  }

  /** Its PENDING was written so lately that its queue lives on long enough: declaring it again would add a fiftieth. */
  #isDeclared({ state, createdAt }: TaskState): boolean {
    if (state === 'PENDING' || createdAt === undefined) return false;
    const ageMs = Date.now() - Date.parse(createdAt);
    return ageMs >= 0 && ageMs < this.#expiresInMs / 50;
  }

  #warnOfExpiry(seconds: number): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const text = `Results are kept for ${this.#expiresInMs / 1_000} s, not for ${seconds} s: set AmqpBackend's \`resultsExpireInSeconds\``;
    this.#logger.warn(text);
  }

  /** Undefined for what is no state: whoever waits for it cannot be helped, and the others must not suffer. */
  #decoded(message: GetMessage, queue: string): TaskState | undefined {
    try {
      return decodeState(message.content.toString());
    } catch (error) {
      this.#logger.warn(`Queue ${queue} holds no state of a task: ${errorText(error)}`);
      return undefined;
    }
  }

  async #call<T>(call: () => Promise<T>): Promise<T> {
    if (this.#closed !== undefined) throw new MachineryError('ERR_MACHINERY_CLOSED', 'The AMQP backend is closed');
    return this.#underWay.during(call);
  }
}

/** A state on its way to a queue. */
interface StateSending extends Sending {
  /** Whether the queue was declared when the task was sent, as far as that can be known here. */
  readonly isDeclared: boolean;
}

function isUnroutable(outcome: Outcome): boolean {
  return outcome.status === 'failed' && outcome.error instanceof Unroutable;
}

function isTriggered({ meta }: GroupRecord): boolean {
  return decodeGroupMeta(meta).chordTriggered;
}
