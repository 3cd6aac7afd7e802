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
  NotSupportedError,
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
  runScript,
} from '@machinery/redis-client';
import { RedisConsumer } from './redis-consumer.ts';
import { moveDelayed } from './scripts.ts';

export interface RedisBrokerOptions extends RedisConnectionOptions {
  /** The sorted set of delayed messages. Default: `delayed_tasks`, as in Go. */
  readonly delayedTasksKey?: string;
  /** How long a worker is believed to live after its last beat, in milliseconds. Default: 20,000. */
  readonly leaseMs?: number;
  /** How often a worker beats, and looks for dead ones, in milliseconds. Default: 5,000. */
  readonly beatMs?: number;
  /** How often delayed messages are looked for at least, in milliseconds. Default: 250. */
  readonly delayedPollMs?: number;
  /** How many dead messages a queue keeps before the oldest is dropped. Default: 1,000. */
  readonly maxDeadMessages?: number;
}

/** How many delayed messages one step moves. */
const moveSize = 500;

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
  readonly #connection: RedisConnection;
  readonly #consumers = new Set<RedisConsumer>();
  readonly #publishing = new Set<Promise<Outcome[]>>();
  #environment: BrokerEnvironment = { defaultQueue: 'machinery_tasks', logger: consoleLogger };
  #beats: NodeJS.Timeout | undefined;
  #mover: NodeJS.Timeout | undefined;
  #closed: Promise<void> | undefined;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: RedisBrokerOptions) {
    checkOptions('RedisBroker', options, {
      ...connectionChecks,
      delayedTasksKey: optionalOption(stringOption),
      leaseMs: optionalOption(integerOption({ min: 1_000 })),
      beatMs: optionalOption(integerOption({ min: 100, max: 2 ** 31 - 1 })),
      delayedPollMs: optionalOption(integerOption({ min: 1, max: 2 ** 31 - 1 })),
      maxDeadMessages: optionalOption(integerOption({ min: 1 })),
    });
    this.#options = options;
    this.#connection = connectRedis('RedisBroker', options);
    if (this.#connection.isCluster) throw new NotSupportedError(this.name, 'a Redis Cluster');
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
    return Promise.all(messages.map((message) => this.#push(message)));
  }

  async consume({ queue, tag }: ConsumeOptions): Promise<Consumer> {
    if (this.#closed !== undefined) throw closedError();
    const { leaseMs = 20_000, maxDeadMessages = 1_000, commandTimeoutMs = 10_000 } = this.#options;
    const consumer = new RedisConsumer({
      connection: this.#connection,
      blocking: connectRedis('RedisBroker', { ...this.#options, commandTimeoutMs: commandTimeoutMs + 5_000 }),
      queue,
      worker: `${tag}-${randomUUID()}`,
      leaseMs,
      maxDeadMessages,
      logger: this.#environment.logger,
      onClose: (closed) => this.#consumers.delete(closed),
    });
    await consumer.beat(); // the registry knows it before it takes anything
    this.#consumers.add(consumer);
    this.#start();
    return consumer;
  }

  pendingMessages(queue: string, limit: number): Promise<string[]> {
    return this.#call('list a queue', () => this.#connection.client.lrange(queue, 0, limit - 1));
  }

  delayedMessages(limit: number): Promise<string[]> {
    return this.#call('list delayed messages', () =>
      this.#connection.client.zrange(this.#delayedKey, '0', String(limit - 1)),
    );
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    clearInterval(this.#beats);
    clearTimeout(this.#mover);
    const closed = await Promise.allSettled([...this.#consumers].map((consumer) => consumer.close()));
    await Promise.all(this.#publishing);
    await this.#connection.close();
    for (const result of closed) if (result.status === 'rejected') throw result.reason;
  }

  /** Connects, so that whatever fails after it may have been sent. */
  async #ready(): Promise<void> {
    const { client } = this.#connection;
    if (client.status === 'ready') return;
    await client.ping();
  }

  async #push({ body, routingKey, dueAtMs }: Message): Promise<Outcome> {
    const { client } = this.#connection;
    try {
      if (dueAtMs === undefined || dueAtMs <= Date.now()) await client.rpush(routingKey, body);
      else await client.zadd(this.#delayedKey, `${dueAtMs}000000`, body);
      return stored;
    } catch (error) {
      const failure = redisError('broker', `publish to queue ${routingKey}`, error);
      if ((error as Error).name !== 'ReplyError') return { status: 'unknown', error: failure };
      return failed(failure, failure.code === 'ERR_MACHINERY_BROKER_UNAVAILABLE');
    }
  }

  #start(): void {
    const { beatMs = 5_000 } = this.#options;
    this.#beats ??= setInterval(() => void this.#beat(), beatMs);
    this.#mover ??= setTimeout(() => void this.#move(), 0);
  }

  async #beat(): Promise<void> {
    const { logger } = this.#environment;
    await Promise.all(
      [...this.#consumers].map(async (consumer) => {
        try {
          await consumer.beat();
        } catch (error) {
          logger.debug('A beat failed', error); // the consumer's own calls say it
        }
      }),
    );
  }

  async #move(): Promise<void> {
    const { delayedPollMs = 250 } = this.#options;
    let waitMs = delayedPollMs;
    try {
      const { client } = this.#connection;
      const [moved, nextMs] = (await runScript(
        client,
        moveDelayed,
        this.#delayedKey,
        this.#environment.defaultQueue,
        moveSize,
      )) as [number, number];
      if (moved === moveSize) waitMs = 0;
      else if (nextMs >= 0) waitMs = Math.min(nextMs, delayedPollMs);
    } catch (error) {
      this.#environment.logger.debug('Delayed messages could not be moved', error);
      waitMs = 1_000;
    }
    if (this.#closed === undefined) this.#mover = setTimeout(() => void this.#move(), waitMs);
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

function closedError(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The Redis broker is closed');
}
