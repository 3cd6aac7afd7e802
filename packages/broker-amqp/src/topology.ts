// What the broker declares: the exchange, a queue for each routing key that is published to and for each that is
// consumed, its bindings, and its queue of dead messages. Each is declared once for a connection, on a channel of its own:
// what exists with other arguments closes the channel, and must fail nobody else.

import { type AmqpChannel, type AmqpConnection, isMissing, isRefusedArgument } from '@machinery/amqp-client';
import { type Logger, MachineryError } from '@machinery/core';
import type { Channel } from 'amqplib';
import { type AmqpBrokerOptions, type AmqpQueueOptions, defaultBindingKey, defaultExchange } from './options.ts';

/** What further exchanges lead to the queues: those of delayed messages. */
export interface QueueSource {
  /** Declares what the exchange needs. */
  declare(channel: Channel): Promise<void>;
  /** Binds a queue to it. */
  bind(channel: Channel, queue: string, keys: readonly string[], args: object): Promise<void>;
}

export interface TopologyOptions extends AmqpBrokerOptions {
  readonly source: QueueSource | undefined;
  readonly defaultQueue: () => string;
  readonly logger: () => Logger;
}

/** AMQP has 255; some are for the names that are made of it: of its queue of dead messages, and of its key in the ladder. */
const maxNameBytes = 249;

export class Topology {
  readonly exchange: string;
  readonly exchangeType: string;
  readonly bindingKey: string;
  readonly #options: TopologyOptions;
  readonly #connection: AmqpConnection;
  /** What stands, or is being declared, by a name for it. */
  readonly #standing = new Map<string, Promise<void>>();
  #last: Promise<unknown> = Promise.resolve();
  /** The exchanges of delayed messages stand. */
  #hasSource = false;

  /** @param connection on which to declare. */
  constructor(connection: AmqpConnection, options: TopologyOptions) {
    const { exchange = defaultExchange, exchangeType = 'direct', bindingKey = defaultBindingKey } = options;
    this.exchange = exchange;
    this.exchangeType = exchangeType;
    this.bindingKey = bindingKey;
    this.#options = options;
    this.#connection = connection;
  }

  /** Forgets what stands: the connection was lost, and the server may be another, or a queue was not there. */
  forget(): void {
    this.#standing.clear();
    this.#hasSource = false;
  }

  forgetOne(what: string): void {
    this.#standing.delete(what);
  }

  /** The queues that messages with this routing key are meant for. Go: on other exchanges than direct ones it is the default queue. */
  #queuesOf(routingKey: string): readonly string[] {
    if (this.exchangeType !== 'direct') return [this.#options.defaultQueue()];
    const bound = Object.entries(this.#options.queues ?? {}).filter(([, { bindingKeys }]) =>
      bindingKeys?.includes(routingKey),
    );
    const named = routingKey === this.bindingKey ? this.#options.defaultQueue() : routingKey;
    const names = bound.map(([name]) => name);
    return names.length === 0 || routingKey === this.bindingKey ? [...names, named] : names;
  }

  /** Declares what a message with this routing key needs to be kept, once. */
  async forPublishing(routingKey: string): Promise<void> {
    for (const queue of this.#queuesOf(routingKey)) await this.forQueue(queue);
  }

  /** Declares the queue of a consumer, and what leads to it, once. */
  async forQueue(queue: string): Promise<void> {
    if (Buffer.byteLength(queue) > maxNameBytes) {
      const text = `Queue ${queue} has a name of ${Buffer.byteLength(queue)} bytes, expected at most ${maxNameBytes}`;
      throw new MachineryError('ERR_MACHINERY_BROKER_FAILED', text);
    }
    await this.once(`queue ${queue}`, `declare queue ${queue}`, (raw) => this.#declareQueue(raw, queue));
  }

  /** Where dead messages of a queue go, declared once. */
  async deadQueueOf(queue: string): Promise<string> {
    const { maxDeadMessages = 1_000, logger } = this.#options;
    const dead = `${queue}.dead`;
    const args = { 'x-max-length': maxDeadMessages };
    const declare = (raw: Channel) => raw.assertQueue(dead, { arguments: args });
    try {
      await this.once(`queue ${dead}`, `declare queue ${dead}`, declare);
    } catch (error) {
      if (!isRefusedArgument(error)) throw error;
      logger().warn(`Queue ${dead} is there with other arguments, and is used as it is`, error);
      this.#standing.set(`queue ${dead}`, Promise.resolve());
    }
    return dead;
  }

  /** As `once`, for what is declared as a whole, `marker` being an exchange that stands when the rest does. */
  async onceMarked(marker: string, doing: string, declare: (raw: Channel) => Promise<unknown>): Promise<void> {
    const check = this.once(`marker ${marker}`, doing, (raw) => raw.checkExchange(marker));
    await check.catch((error) => {
      if (!isMissing(error)) throw error;
      return this.once(`marker ${marker}`, doing, async (raw) => {
        await declare(raw);
        await raw.assertExchange(marker, 'direct');
      });
    });
  }

  /** Declares something, one thing at a time; what failed is tried again by the next who needs it. */
  once(what: string, doing: string, declare: (raw: Channel) => Promise<unknown>): Promise<void> {
    let standing = this.#standing.get(what);
    if (standing === undefined) {
      standing = this.#last.then(() => this.#declare(doing, declare));
      this.#last = standing.catch(() => this.#standing.delete(what));
      this.#standing.set(what, standing);
    }
    return standing;
  }

  async #declare(doing: string, declare: (raw: Channel) => Promise<unknown>): Promise<void> {
    const channel: AmqpChannel = await this.#connection.channel();
    try {
      await channel.call(doing, declare);
    } finally {
      await channel.close();
    }
  }

  /** The queue goes with its last consumer. */
  isAutoDelete(queue: string): boolean {
    return this.#own(queue)?.autoDelete ?? this.#options.autoDelete ?? false;
  }

  /** What is different for this queue. */
  #own(queue: string): AmqpQueueOptions | undefined {
    const { queues } = this.#options;
    return queues !== undefined && Object.hasOwn(queues, queue) ? queues[queue] : undefined;
  }

  async #declareQueue(raw: Channel, queue: string): Promise<void> {
    const { queueArguments, bindingArguments, exchangeArguments, source } = this.#options;
    const own = this.#own(queue);
    const args = own?.arguments ?? queueArguments ?? {};
    const bindingArgs = own?.bindingArguments ?? bindingArguments ?? {};
    const isDefault = queue === this.#options.defaultQueue();
    const usual = [...(isDefault ? [this.bindingKey] : []), queue];
    // On a direct exchange it must be found by its name, too: what comes back to it is sent there
    const keys = this.exchangeType === 'direct' ? [...(own?.bindingKeys ?? []), ...usual] : (own?.bindingKeys ?? usual);
    await raw.assertExchange(this.exchange, this.exchangeType, { arguments: exchangeArguments ?? {} });
    await raw.assertQueue(queue, { durable: true, autoDelete: this.isAutoDelete(queue), arguments: args });
    for (const key of keys) await raw.bindQueue(queue, this.exchange, key, bindingArgs);
    if (source === undefined) return;
    if (!this.#hasSource) await source.declare(raw);
    this.#hasSource = true;
    await source.bind(raw, queue, keys, bindingArgs);
  }
}
