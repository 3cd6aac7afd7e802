// The meta of a group with its claim, as one message in a queue of its own. Who wants to look or to change it consumes the queue,
// which gives it to one consumer at a time (x-single-active-consumer), writes it anew, takes the old one off and closes
// the channel: RabbitMQ lets the next one have it then, and not when a consumer is cancelled. A queue that has neither a message nor a
// consumer has lost its record, or never had one: who declared it died before publishing.
//
// Invariant: the highest version is the record. A crash between writing and taking off leaves both, and the next one looks at both.

import { type ChannelPool, isMissing, type Publisher } from '@machinery/amqp-client';
import { MachineryError } from '@machinery/core';
import type { Channel, Message } from 'amqplib';
import { checkedName, type StateQueues, stateQueue } from './state-queues.ts';

/** What is stored of a group. */
export interface GroupRecord {
  /** As Go's JSON. */
  readonly meta: string;
  /** The member that sends the chord's callback; empty: none. */
  readonly claim: string;
  /** Unix milliseconds. */
  readonly expiresAtMs: number;
}

/** An unused queue of a group is deleted after that time at least, in milliseconds: a renewal makes a record live longer. */
const minQueueMs = 3_600_000;
const maxTtl = 2 ** 32 - 1;
/** How long one waits for the others, in milliseconds. */
const turnMs = 9_000;

export class GroupRecords {
  readonly #pool: ChannelPool;
  readonly #queues: StateQueues;
  readonly #publisher: Publisher;

  /** @param pool nobody else's: who waits for a turn keeps its channel. */
  constructor(pool: ChannelPool, queues: StateQueues, publisher: Publisher) {
    this.#pool = pool;
    this.#queues = queues;
    this.#publisher = publisher;
  }

  /** Replaces what is there. */
  async create(groupUuid: string, record: GroupRecord): Promise<void> {
    const queue = queueOf(groupUuid);
    const expires = Math.min(Math.max(2 * (record.expiresAtMs - Date.now()), minQueueMs), maxTtl);
    await this.delete([groupUuid]);
    const args = { 'x-expires': expires, 'x-single-active-consumer': true };
    await this.#queues.declareWith(queue, { autoDelete: false, arguments: args });
    await this.#publish(queue, record, 1);
  }

  async delete(groupUuids: readonly string[]): Promise<void> {
    await this.#queues.delete(groupUuids.flatMap((uuid) => [stateQueue(uuid), queueOf(uuid), triggeredQueue(uuid)]));
  }

  /**
   * Gives the record to `change`, which answers what it is from now on. Nobody else has it meanwhile. Answers what it was;
   * undefined: there is none, or it has expired.
   */
  async change(groupUuid: string, change: (record: GroupRecord) => GroupRecord): Promise<GroupRecord | undefined> {
    const queue = queueOf(groupUuid);
    try {
      return await this.#pool.runAlone(`look at group ${groupUuid}`, (raw) => this.#change(raw, queue, change));
    } catch (error) {
      if (isMissing(error)) return undefined;
      if (error instanceof Replaced) return this.change(groupUuid, change);
      throw error;
    }
  }

  async #change(
    raw: Channel,
    queue: string,
    change: (record: GroupRecord) => GroupRecord,
  ): Promise<GroupRecord | undefined> {
    const { promise, resolve, reject } = withResolvers<Message>();
    promise.catch(() => {});
    const onMessage = (message: Message | null) => (message === null ? reject(new Replaced()) : resolve(message));
    const { messageCount, consumerCount } = await raw.checkQueue(queue);
    if (messageCount === 0 && consumerCount === 0) return undefined;
    raw.once('close', () => reject(new Error('the channel is closed')));
    await raw.prefetch(1);
    await raw.consume(queue, onMessage);
    const timer = setTimeout(() => reject(unavailable(queue)), turnMs);
    let messages: Message[];
    try {
      messages = [await promise];
    } finally {
      clearTimeout(timer);
    }
    for (let more = await raw.get(queue); more !== false; more = await raw.get(queue)) messages.push(more);
    const newest = messages.reduce((best, message) => (versionOf(message) > versionOf(best) ? message : best));
    const record = recordOf(newest);
    const isThere = record.expiresAtMs > Date.now();
    await this.#publish(queue, isThere ? change(record) : record, versionOf(newest) + 1);
    for (const message of messages) raw.ack(message);
    return isThere ? record : undefined;
  }

  async #publish(queue: string, { meta, claim, expiresAtMs }: GroupRecord, version: number): Promise<void> {
    const headers = { claim, version: String(version), 'expires-at': String(expiresAtMs) };
    const properties = { persistent: true, contentType: 'application/json', headers };
    const content = Buffer.from(meta);
    const sending = { exchange: '', routingKey: queue, content, properties, what: `The meta of group ${queue}` };
    const [outcome] = await this.#publisher.send([() => sending]);
    if (outcome?.status !== 'stored') throw outcome?.error;
  }
}

/** Go: where this is, the callback was sent. Throws for a group whose UUID is too long: no other queue of it has a longer name. */
export function triggeredQueue(groupUuid: string): string {
  return checkedName(`${groupUuid}_chord_triggered`);
}

/** The group's own name is that of the queue in which Go's workers count members. */
function queueOf(groupUuid: string): string {
  return checkedName(`${groupUuid}_meta`);
}

/** The queue was deleted while we waited: the group was purged, or is being replaced. */
class Replaced extends MachineryError {
  constructor() {
    super('ERR_MACHINERY_BACKEND_UNAVAILABLE', 'The queue of a group was deleted');
  }
}

function unavailable(queue: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_BACKEND_UNAVAILABLE', `Queue ${queue} had no message for ${turnMs} ms`);
}

function recordOf({ content, properties: { headers } }: Message): GroupRecord {
  const { claim = '', 'expires-at': expiresAt = '0' } = (headers ?? {}) as Record<string, string>;
  return { meta: content.toString(), claim, expiresAtMs: Number(expiresAt) };
}

function versionOf({ properties: { headers } }: Message): number {
  return Number((headers as { version?: string } | undefined)?.version ?? 0);
}

function withResolvers<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((resolveIt, rejectIt) => {
    resolve = resolveIt;
    reject = rejectIt;
  });
  return { promise, resolve, reject };
}
