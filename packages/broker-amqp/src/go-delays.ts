// Other ways to delay messages, for who wants Go's or has the plugin. What they cost is in the README.

import type { Channel } from 'amqplib';
import type { DelayedRoute, Delays } from './delays.ts';
import type { QueueSource, Topology } from './topology.ts';

/**
 * As Go: a queue for each delay and routing key, which is deleted when it was not declared for longer than its messages wait. Go's
 * own is deleted after twice the delay, also while it holds what was published late, so these have another name.
 */
export class DelayQueues implements Delays {
  readonly source = undefined;

  async prepare(topology: Topology, routingKey: string, dueAtMs: number): Promise<(delayMs: number) => DelayedRoute> {
    const ms = Math.max(1, Math.ceil(dueAtMs - Date.now()));
    const { exchange } = topology;
    const queue = `delay.${ms}.${exchange}.${routingKey}.kept`;
    const args = {
      'x-dead-letter-exchange': exchange,
      'x-dead-letter-routing-key': routingKey,
      'x-message-ttl': ms,
      'x-expires': Math.min(ms * 2 + untilPublishedMs, 2 ** 32 - 1),
    };
    // Each time: it may be gone
    topology.forgetOne(`queue ${queue}`);
    await declareBound(topology, queue, args);
    return (delayMs) => ({ exchange, routingKey: queue, expirationMs: Math.ceil(delayMs) });
  }
}

/** The longest time from the declaration of a queue until something is published to it, in milliseconds: a batch declares all its queues first. */
const untilPublishedMs = 60_000;

/** Go with a DelayedQueue: one queue, for messages of one routing key, which wait behind those that are due later. */
export class DelayedQueue implements Delays {
  readonly source = undefined;
  readonly #queue: string;

  constructor(queue: string) {
    this.#queue = queue;
  }

  async prepare(topology: Topology, routingKey: string): Promise<(delayMs: number) => DelayedRoute> {
    const { exchange } = topology;
    const args = { 'x-dead-letter-exchange': exchange, 'x-dead-letter-routing-key': routingKey };
    await declareBound(topology, this.#queue, args, routingKey); // another routing key is refused, with the name of the queue
    return (delayMs) => ({ exchange, routingKey: this.#queue, expirationMs: Math.ceil(delayMs) });
  }
}

/** The delayed message exchange plugin: one exchange, which keeps messages on the node that took them. */
export class DelayPlugin implements Delays {
  readonly source: QueueSource;
  readonly #name: string;

  constructor(exchange: string, exchangeType: string) {
    const name = `${exchange}.delayed`;
    this.#name = name;
    this.source = {
      declare: async (channel: Channel) => {
        await channel.assertExchange(name, 'x-delayed-message', { arguments: { 'x-delayed-type': exchangeType } });
      },
      bind: async (channel, queue, keys, args) => {
        for (const key of keys) await channel.bindQueue(queue, name, key, args);
      },
    };
  }

  async prepare(_: Topology, routingKey: string): Promise<(delayMs: number) => DelayedRoute> {
    return (delayMs) => ({
      exchange: this.#name,
      routingKey,
      headers: { 'x-delay': Math.ceil(delayMs) },
      isKept: true, // the plugin returns all that is mandatory, and keeps it
    });
  }
}

function declareBound(topology: Topology, queue: string, args: object, key = ''): Promise<void> {
  return topology.once(`queue ${queue} ${key}`.trimEnd(), `declare queue ${queue} of delayed messages`, async (raw) => {
    await raw.assertQueue(queue, { arguments: args });
    await raw.bindQueue(queue, topology.exchange, queue);
  });
}
