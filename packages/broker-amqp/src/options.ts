// The options of the broker: their checks, and what they are where they are absent.

import { type AmqpConnectionOptions, connectionChecks } from '@machinery/amqp-client';
import {
  booleanOption,
  type Check,
  checkOptions,
  integerOption,
  MachineryError,
  objectOption,
  oneOfOption,
  optionalOption,
  stringOption,
} from '@machinery/core';

/** Of one queue, in place of what all have. */
export interface AmqpQueueOptions {
  /**
   * The keys that bind it to the exchange. On a direct exchange they are further keys; on others they are in place of its name, and of the
   * binding key for the default queue.
   */
  readonly bindingKeys?: readonly string[];
  readonly arguments?: Readonly<Record<string, unknown>>;
  readonly bindingArguments?: Readonly<Record<string, unknown>>;
  readonly autoDelete?: boolean;
}

export interface AmqpBrokerOptions extends AmqpConnectionOptions {
  /** Default: `machinery_exchange`. It is durable. */
  readonly exchange?: string;
  /** Default: `direct`. */
  readonly exchangeType?: 'direct' | 'topic' | 'fanout' | 'headers';
  readonly exchangeArguments?: Readonly<Record<string, unknown>>;
  /** What binds the default queue, and the routing key of what names none on a direct exchange. Default: `machinery_task`. */
  readonly bindingKey?: string;
  /** Of every queue that is declared: `x-max-priority`, `x-queue-type` … Go names them QueueDeclareArgs. Default: none. */
  readonly queueArguments?: Readonly<Record<string, unknown>>;
  /** Of every binding, for a headers exchange say. Go names them QueueBindingArgs. Default: none. */
  readonly bindingArguments?: Readonly<Record<string, unknown>>;
  /** Queues are deleted with their last consumer. Default: false. */
  readonly autoDelete?: boolean;
  /** What is different for single queues, by their names. */
  readonly queues?: Readonly<Record<string, AmqpQueueOptions>>;
  /**
   * How many messages a consumer holds that are not acked. Default: its concurrency, so that none waits behind a long task while another worker
   * is idle. Go: 3. Fewer than the concurrency are all that run at once, as in Go.
   */
  readonly prefetch?: number;
  /**
   * How messages are delayed. `ladder`: through a fixed set of queues. `queues`: as Go does, with a queue for each delay. `delayed-queue`: as
   * Go does when it has a DelayedQueue, through that one. `plugin`: by the delayed message exchange. Default: `ladder`.
   */
  readonly delays?: 'ladder' | 'queues' | 'delayed-queue' | 'plugin';
  /** The name of the one queue of `delayed-queue`. */
  readonly delayedQueue?: string;
  /** The type of the ladder's queues. Default: `quorum` where the server has what they need (3.10), else `classic`. */
  readonly delayQueueType?: 'quorum' | 'classic';
  /** The server's `max_message_size` in bytes, where larger messages are to be refused before they are sent. */
  readonly maxMessageBytes?: number;
  /** How many dead messages a queue keeps before the oldest is dropped. Default: 1,000. */
  readonly maxDeadMessages?: number;
  /** How long the server may take to confirm a message, in milliseconds, before its fate counts as unknown. Default: 30,000. */
  readonly confirmTimeoutMs?: number;
}

export const defaultExchange = 'machinery_exchange';
export const defaultBindingKey = 'machinery_task';

const queueChecks: Record<keyof AmqpQueueOptions, Check> = {
  bindingKeys: optionalOption((value) =>
    Array.isArray(value) && value.every((key) => typeof key === 'string') ? undefined : 'an array of strings',
  ),
  arguments: optionalOption(objectOption),
  bindingArguments: optionalOption(objectOption),
  autoDelete: optionalOption(booleanOption),
};

const prefetchCheck = optionalOption(integerOption({ min: 1, max: 65_535 }));

/** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
export function checkPrefetch(prefetch: number | undefined): void {
  checkOptions('AmqpBroker', { prefetch }, { prefetch: prefetchCheck });
}

/** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
export function checkBrokerOptions(options: AmqpBrokerOptions): void {
  checkOptions('AmqpBroker', options, {
    ...connectionChecks,
    exchange: optionalOption(stringOption),
    exchangeType: optionalOption(oneOfOption('direct', 'topic', 'fanout', 'headers')),
    exchangeArguments: optionalOption(objectOption),
    bindingKey: optionalOption(stringOption),
    queueArguments: optionalOption(objectOption),
    bindingArguments: optionalOption(objectOption),
    autoDelete: optionalOption(booleanOption),
    queues: optionalOption(objectOption),
    prefetch: prefetchCheck,
    delays: optionalOption(oneOfOption('ladder', 'queues', 'delayed-queue', 'plugin')),
    delayedQueue: optionalOption(stringOption),
    delayQueueType: optionalOption(oneOfOption('quorum', 'classic')),
    maxMessageBytes: optionalOption(integerOption({ min: 1 })),
    maxDeadMessages: optionalOption(integerOption({ min: 1, max: 2 ** 31 - 1 })),
    confirmTimeoutMs: optionalOption(integerOption({ min: 1, max: 2 ** 31 - 1 })),
  });
  for (const [name, queue] of Object.entries(options.queues ?? {}))
    checkOptions(`AmqpBroker, queue ${name}`, queue, queueChecks);
  const { delays = 'ladder', delayedQueue, delayQueueType } = options;
  if ((delays === 'delayed-queue') !== (delayedQueue !== undefined)) {
    const text = `AmqpBroker: expected \`delayedQueue\` with \`delays: 'delayed-queue'\` and only with it, got ${delayedQueue ?? 'none'}`;
    throw new MachineryError('ERR_MACHINERY_INVALID_OPTION', text);
  }
  if (delayQueueType !== undefined && delays !== 'ladder') {
    const text = `AmqpBroker: expected \`delayQueueType\` with \`delays: 'ladder'\` only, got \`${delays}\``;
    throw new MachineryError('ERR_MACHINERY_INVALID_OPTION', text);
  }
}
