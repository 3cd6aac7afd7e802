// How messages are delayed, as the broker sees it: each way is given a message whose queue stands, and says where to publish it.

import type { AmqpConnection } from '@machinery/amqp-client';
import { DelayLadder } from './delay-ladder.ts';
import { DelayedQueue, DelayPlugin, DelayQueues } from './go-delays.ts';
import type { AmqpBrokerOptions } from './options.ts';
import type { QueueSource, Topology } from './topology.ts';

/** Where a message is published so that it reaches its queue later. */
export interface DelayedRoute {
  readonly exchange: string;
  readonly routingKey: string;
  /** Merged over the message's own. */
  readonly headers?: Readonly<Record<string, unknown>>;
  /** The message's own time to live, in milliseconds. */
  readonly expirationMs?: number;
  /** The exchange keeps the message. */
  readonly isKept?: boolean;
}

/** A way to delay messages. */
export interface Delays {
  /** Further exchanges that lead to every queue. */
  readonly source: QueueSource | undefined;
  /**
   * Declares what is needed for a message that is due then, and answers what says, when it is about to be written, where to
   * publish it. `delayMs` is at least 1.
   */
  prepare(topology: Topology, routingKey: string, dueAtMs: number): Promise<(delayMs: number) => DelayedRoute>;
  /** The routing key of exactly one queue, for what comes back to it; undefined: as its own messages. */
  keyOfQueue?(queue: string): string;
}

/** The longest delay: what the ladder's digits can say, without what it adds. */
export const maxDelayMs = 2 ** 32 - 17;

export function delaysOf(options: AmqpBrokerOptions, exchange: string, connection: AmqpConnection): Delays {
  const { delays = 'ladder', delayedQueue, exchangeType = 'direct' } = options;
  if (delays === 'queues') return new DelayQueues();
  if (delays === 'delayed-queue') return new DelayedQueue(delayedQueue as string);
  if (delays === 'plugin') return new DelayPlugin(exchange, exchangeType);
  return new DelayLadder({ exchange, exchangeType, connection, queueType: options.delayQueueType });
}
