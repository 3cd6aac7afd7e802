// A channel that consumes a queue, and what came over it and is not settled. It ends with the channel and is not opened again.
//
// Invariant: `multiple` acks reach no further than the lowest delivery that is not done.

import { type AmqpChannel, type AmqpConnection, amqpError } from '@machinery/amqp-client';
import { MachineryError } from '@machinery/core';
import type { ConsumeMessage, Message } from 'amqplib';

export interface SessionOptions {
  readonly connection: AmqpConnection;
  readonly queue: string;
  readonly tag: string;
  readonly prefetch: number;
  readonly onMessage: (message: ConsumeMessage) => void;
  /** Called once, when it has ended by itself. */
  readonly onEnd: (reason: MachineryError) => void;
}

/** A delivery, by its number on the channel. */
export interface Tagged {
  readonly tag: number;
}

/** AMQP has 255 bytes for it, of which some make it unique. */
const maxTagBytes = 200;

export class Session<D extends Tagged> {
  readonly #channel: AmqpChannel;
  readonly #options: SessionOptions;
  /** In the order of their tags, the lowest first. */
  readonly #unsettled = new Map<number, D>();
  /** What came before the session was started. */
  #early: ConsumeMessage[] | undefined = [];
  #consumerTag: string;
  #isConsuming = false;
  /** One change of the consumer at a time. */
  #last: Promise<void> = Promise.resolve();
  #isClosing = false;
  #cancelledBecause: Error | undefined;

  private constructor(channel: AmqpChannel, options: SessionOptions) {
    this.#channel = channel;
    this.#options = options;
    this.#consumerTag = uniqueTag(options.tag);
  }

  /** How many deliveries are not settled. */
  get size(): number {
    return this.#unsettled.size;
  }

  /** Starts to consume the queue. Rejects with core's error. */
  static async open<D extends Tagged>(options: SessionOptions): Promise<Session<D>> {
    const { connection, queue, prefetch } = options;
    const channel = await connection.channel();
    const session = new Session<D>(channel, options);
    try {
      await channel.call(`consume queue ${queue}`, (raw) => raw.prefetch(prefetch));
      await session.consume();
    } catch (error) {
      await channel.close();
      throw error;
    }
    channel.onEnd((reason) => session.#ended(reason));
    return session;
  }

  /** Also after `cancel`. */
  consume(): Promise<void> {
    return this.#inTurn(() => this.#consume());
  }

  /** Nothing comes any more when this has resolved; what is not settled stays so. */
  cancel(): Promise<void> {
    return this.#inTurn(async () => {
      this.#isConsuming = false;
      await this.#cancel(this.#consumerTag);
    });
  }

  /** A consumer keeps the prefetch that it began with, so that another one follows it. For a moment both are sent messages. */
  setPrefetch(prefetch: number): Promise<void> {
    return this.#inTurn(async () => {
      const { queue, tag } = this.#options;
      await this.#channel.call(`consume queue ${queue}`, (raw) => raw.prefetch(prefetch));
      if (!this.#isConsuming) return;
      const before = this.#consumerTag;
      this.#consumerTag = uniqueTag(tag);
      await this.#consume();
      await this.#cancel(before);
    });
  }

  #inTurn(call: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(call);
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #consume(): Promise<void> {
    const { queue } = this.#options;
    await this.#channel.call(`consume queue ${queue}`, (raw) =>
      raw.consume(queue, (message) => this.#on(message), { consumerTag: this.#consumerTag }),
    );
    this.#isConsuming = true;
  }

  async #cancel(consumerTag: string): Promise<void> {
    const { queue } = this.#options;
    await this.#channel.call(`stop consuming queue ${queue}`, (raw) => raw.cancel(consumerTag));
  }

  /** Hands on what came so far, and whatever comes. */
  start(): void {
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const message of early) this.#options.onMessage(message);
    if (!this.#channel.isOpen) this.#ended(this.#channel.reason);
  }

  add(delivery: D): void {
    this.#unsettled.set(delivery.tag, delivery);
  }

  has(delivery: D): boolean {
    return this.#channel.isOpen && this.#unsettled.get(delivery.tag) === delivery;
  }

  /** As few acks as there can be. What is settled already is left out. */
  ack(deliveries: readonly D[]): void {
    const tags = new Set(deliveries.filter((delivery) => this.has(delivery)).map(({ tag }) => tag));
    let upTo: number | undefined;
    for (const tag of this.#unsettled.keys()) {
      if (!tags.has(tag)) break;
      upTo = tag;
    }
    for (const tag of tags) this.#unsettled.delete(tag);
    this.#write(() => {
      if (upTo !== undefined) this.#channel.raw.ack(named(upTo), true);
      for (const tag of tags) if (upTo === undefined || tag > upTo) this.#channel.raw.ack(named(tag));
    });
  }

  /**
   * To their old places, the first of them first: the server may deliver one as soon as it has it. Resolves when it has them:
   * an ack that is sent at once overtakes them in the server, and makes room for what comes after them.
   */
  async requeue(deliveries: readonly D[]): Promise<void> {
    const tags = deliveries.filter((delivery) => this.has(delivery)).map(({ tag }) => tag);
    if (tags.length === 0) return;
    for (const tag of tags) this.#unsettled.delete(tag);
    this.#write(() => {
      for (const tag of tags.sort((a, b) => a - b)) this.#channel.raw.nack(named(tag), false, true);
    });
    const { queue } = this.#options;
    await this.#channel.call(`look at queue ${queue}`, (raw) => raw.checkQueue(queue)).catch(() => {}); // it is lost then
  }

  /** What is not settled goes back to its places, before this resolves. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#channel.close();
  }

  #on(message: ConsumeMessage | null): void {
    if (message === null) void this.#cancelled();
    else if (this.#early !== undefined) this.#early.push(message);
    else this.#options.onMessage(message);
  }

  /** By the server, which gives back nothing of what is not acked. */
  async #cancelled(): Promise<void> {
    this.#cancelledBecause = new Error('the server cancelled the consumer: its queue was deleted, or its node is down');
    await this.#channel.close();
  }

  #ended(reason: Error): void {
    if (this.#isClosing || this.#early !== undefined) return;
    this.#isClosing = true;
    this.#unsettled.clear();
    const error = amqpError('broker', `go on consuming queue ${this.#options.queue}`, this.#cancelledBecause ?? reason);
    // Whatever ended it, it is tried again: the next try says what is wrong for good
    this.#options.onEnd(new MachineryError('ERR_MACHINERY_BROKER_UNAVAILABLE', error.message, { cause: reason }));
  }

  /** A channel that is being closed takes nothing: what is not settled by then is delivered again. */
  #write(write: () => void): void {
    try {
      write();
    } catch (error) {
      if ((error as Error).name !== 'IllegalOperationError') throw error;
    }
  }
}

/** amqplib wants the message whose tag it sends. */
function named(deliveryTag: number): Message {
  return { fields: { deliveryTag } } as Message;
}

/** Two consumers of a channel may not have the same; those of the server's list may, but are easier told apart. */
function uniqueTag(tag: string): string {
  return `${Buffer.from(tag).subarray(0, maxTagBytes)}-${Math.random().toString(36).slice(2, 10)}`;
}
