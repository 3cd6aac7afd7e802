// A broker on Redis that shares queues with Go Machinery: RPUSH to the list of the routing key, a sorted set for what is
// delayed. Publishing and what belongs to all consumers is here, taking in `redis-consumer.ts`.

import { randomUUID } from 'node:crypto';
import {
  type Broker,
  type BrokerCapabilities,
  type BrokerEnvironment,
  type ConsumeOptions,
  type Consumer,
  type ContractVersion,
  checkOptions,
  consoleLogger,
  contractVersion,
  failed,
  integerOption,
  MachineryError,
  type Message,
  type Outcome,
  optionalOption,
  stored,
  stringOption,
} from '@machinery/core';
import {
  connectionChecks,
  connectRedis,
  type RedisConnection,
  type RedisConnectionOptions,
  redisError,
} from '@machinery/redis-client';
import { DelayedMover } from './delayed-mover.ts';
import { blockSeconds, RedisConsumer, type RedisConsumerOptions } from './redis-consumer.ts';

export interface RedisBrokerOptions extends RedisConnectionOptions {
  /** The sorted set of delayed messages. Default: `delayed_tasks`, as in Go. */
  readonly delayedTasksKey?: string;
  /** How long a worker is believed to live after its last beat, in milliseconds. Default: 20,000. */
  readonly leaseMs?: number;
  /** How often a worker beats, in milliseconds: at most a third of `leaseMs`. Default: 5,000, or a quarter of `leaseMs` if that is less. */
  readonly beatMs?: number;
  /** How often dead workers are looked for, in milliseconds. Default: as `beatMs`. */
  readonly scanMs?: number;
  /** How long a task may block the event loop before its worker counts as dead, in milliseconds. Default: 600,000. */
  readonly maxBlockedMs?: number;
  /** How often delayed messages are looked for where the server does not say that there are new ones, in milliseconds. Default: 250. */
  readonly delayedPollMs?: number;
  /** How many dead messages a queue keeps before the oldest is dropped. Default: 1,000. */
  readonly maxDeadMessages?: number;
}

/** The most characters that one command pushes. */
const pushLength = 1_000_000;

/** Messages of one publish that go to one place; undefined: they are delayed. */
interface Destination {
  readonly queue: string | undefined;
  readonly messages: Message[];
}

type Lease = Pick<RedisConsumerOptions, 'leaseMs' | 'beatMs' | 'scanMs' | 'maxBlockedMs'>;

/** A broker on Redis, shared with Go's workers and producers. */
export class RedisBroker implements Broker {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/broker-redis';
  readonly capabilities: BrokerCapabilities = Object.freeze({
    deliveryCount: true,
    listPending: true,
    listDelayed: true,
  });
  readonly #options: RedisBrokerOptions;
  readonly #lease: Lease;
  readonly #connection: RedisConnection;
  readonly #mover: DelayedMover;
  readonly #consumers = new Set<RedisConsumer>();
  readonly #publishing = new Set<Promise<Outcome[]>>();
  #environment: BrokerEnvironment = { defaultQueue: 'machinery_tasks', logger: consoleLogger };
  #isMoving = false;
  /** How far the server's clock is ahead of `performance.now()`, in milliseconds: what is not due there is not due. */
  #aheadMs = 0;
  #isTimed = false;
  #closed: Promise<void> | undefined;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: RedisBrokerOptions) {
    checkOptions('RedisBroker', options, {
      ...connectionChecks,
      delayedTasksKey: optionalOption(stringOption),
      leaseMs: optionalOption(integerOption({ min: 1_000 })),
      beatMs: optionalOption(integerOption({ min: 100, max: 2 ** 31 - 1 })),
      scanMs: optionalOption(integerOption({ min: 100, max: 2 ** 31 - 1 })),
      maxBlockedMs: optionalOption(integerOption({ min: 1_000 })),
      delayedPollMs: optionalOption(integerOption({ min: 1, max: 2 ** 31 - 1 })),
      maxDeadMessages: optionalOption(integerOption({ min: 1 })),
    });
    this.#options = options;
    this.#lease = leaseOf(options);
    this.#connection = connectRedis('RedisBroker', options);
    this.#connection.client.on('close', () => {
      this.#isTimed = false; // the next may be another server
    });
    this.#mover = new DelayedMover({
      connection: this.#connection,
      connect: () => connectRedis('RedisBroker', options, { protocol: 2 }),
      key: this.#delayedKey,
      pollMs: options.delayedPollMs ?? 250,
      defaultQueue: () => this.#environment.defaultQueue,
      logger: () => this.#environment.logger,
    });
  }

  get #delayedKey(): string {
    return this.#options.delayedTasksKey ?? 'delayed_tasks';
  }

  attach(environment: BrokerEnvironment): void {
    this.#environment = environment;
  }

  /** Outcomes: `failed`, retryable, when Redis is away; `unknown` when the connection was lost before the reply. */
  publish(messages: readonly Message[]): Promise<Outcome[]> {
    const published = this.#publish(messages).finally(() => this.#publishing.delete(published));
    this.#publishing.add(published);
    return published;
  }

  async #publish(messages: readonly Message[]): Promise<Outcome[]> {
    try {
      if (this.#closed !== undefined) throw closedError();
      await this.#ready();
    } catch (error) {
      const failure = redisError('broker', 'be reached', error);
      return messages.map(() => failed(failure, failure.code === 'ERR_MACHINERY_BROKER_UNAVAILABLE'));
    }
    const outcomes = new Map<Message, Outcome>();
    const push = async (destination: Destination) => {
      const outcome = await this.#push(destination);
      for (const message of destination.messages) outcomes.set(message, outcome);
    };
    await Promise.all(this.#destinationsOf(messages).map(push));
    return messages.map((message) => outcomes.get(message) as Outcome);
  }

  async consume({ queue, tag }: ConsumeOptions): Promise<Consumer> {
    if (this.#closed !== undefined) throw closedError();
    const { maxDeadMessages = 1_000, commandTimeoutMs = 10_000 } = this.#options;
    const blockingTimeoutMs = Math.min(commandTimeoutMs + blockSeconds * 1_000, 2 ** 31 - 1);
    const consumer = new RedisConsumer({
      connection: this.#connection,
      blocking: connectRedis('RedisBroker', { ...this.#options, commandTimeoutMs: blockingTimeoutMs }),
      queue,
      worker: `${tag.replaceAll(/[^\w.@-]/g, '_')}-${randomUUID()}`, // the scripts take it apart from a number and a body
      ...this.#lease,
      maxDeadMessages,
      logger: this.#environment.logger,
      onClose: (closed) => this.#consumers.delete(closed),
    });
    this.#consumers.add(consumer);
    try {
      await consumer.start();
    } catch (error) {
      await consumer.close().catch(() => {});
      throw error;
    }
    if (!this.#isMoving) this.#mover.start();
    this.#isMoving = true;
    return consumer;
  }

  async pendingMessages(queue: string, limit: number): Promise<string[]> {
    if (limit < 1) return [];
    return this.#call('list a queue', () => this.#connection.client.lrange(queue, 0, limit - 1));
  }

  async delayedMessages(limit: number): Promise<string[]> {
    if (limit < 1) return [];
    return this.#call('list delayed messages', () =>
      this.#connection.client.zrange(this.#delayedKey, '0', String(limit - 1)),
    );
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const moved = this.#mover.close();
    const closed = await Promise.allSettled([...this.#consumers].map((consumer) => consumer.close()));
    await Promise.all([moved, ...this.#publishing]);
    await this.#connection.close();
    for (const result of closed) if (result.status === 'rejected') throw result.reason;
  }

  /** Connects, so that whatever fails after it may have been sent. */
  async #ready(): Promise<void> {
    const { client } = this.#connection;
    if (client.status === 'ready' && this.#isTimed) return;
    const [seconds, microseconds] = await client.time();
    this.#aheadMs = Number(seconds) * 1_000 + Number(microseconds) / 1_000 - performance.now();
    this.#isTimed = true;
  }

  /** Where messages go, each with one command: the delayed set, and each queue. */
  #destinationsOf(messages: readonly Message[]): Destination[] {
    const now = performance.now() + this.#aheadMs;
    const all: Destination[] = [];
    const open = new Map<string | undefined, { destination: Destination; length: number }>();
    for (const message of messages) {
      const { routingKey, dueAtMs, body } = message;
      const queue = dueAtMs === undefined || dueAtMs <= now ? routingKey : undefined;
      const there = open.get(queue);
      if (there !== undefined && there.length + body.length <= pushLength) {
        there.destination.messages.push(message);
        there.length += body.length;
      } else {
        const destination = { queue, messages: [message] };
        open.set(queue, { destination, length: body.length });
        all.push(destination);
      }
    }
    return all;
  }

  async #push({ queue, messages }: Destination): Promise<Outcome> {
    const { client } = this.#connection;
    try {
      if (queue !== undefined) await client.rpush(queue, ...messages.map(({ body }) => body));
      else await client.zadd(this.#delayedKey, ...messages.flatMap(({ body, dueAtMs }) => [`${dueAtMs}000000`, body]));
      return stored;
    } catch (error) {
      const where = queue === undefined ? 'delayed messages' : `to queue ${queue}`;
      const failure = redisError('broker', `publish ${where}`, error);
      if ((error as Error).name !== 'ReplyError') return { status: 'unknown', error: failure };
      return failed(failure, failure.code === 'ERR_MACHINERY_BROKER_UNAVAILABLE');
    }
  }

  async #call<T>(doing: string, call: () => Promise<T>): Promise<T> {
    if (this.#closed !== undefined) throw closedError();
    try {
      return await call();
    } catch (error) {
      throw redisError('broker', doing, error);
    }
  }
}

function leaseOf(options: RedisBrokerOptions): Lease {
  const { leaseMs = 20_000, beatMs = Math.min(5_000, Math.floor(leaseMs / 4)) } = options;
  const { scanMs = beatMs, maxBlockedMs = 600_000 } = options;
  if (beatMs * 3 > leaseMs)
    throw invalid(`\`beatMs\` to be at most a third of \`leaseMs\`, got ${beatMs} and ${leaseMs}`);
  if (maxBlockedMs < beatMs * 3)
    throw invalid(`\`maxBlockedMs\` to be at least three times \`beatMs\`, got ${maxBlockedMs} and ${beatMs}`);
  return { leaseMs, beatMs, scanMs, maxBlockedMs };
}

function invalid(expected: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_OPTION', `RedisBroker: expected ${expected}`);
}

function closedError(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The Redis broker is closed');
}
