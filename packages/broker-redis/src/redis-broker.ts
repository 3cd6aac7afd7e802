// A broker on Redis that shares queues with Go Machinery: RPUSH to the list of the routing key, a sorted set for what is
// delayed. Publishing and what belongs to all consumers is here, taking in `redis-consumer.ts`.

import { randomUUID } from 'node:crypto';
import {
  type Backend,
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
  type Send,
  stored,
  stringOption,
  type TaskState,
  UnderWay,
} from '@machinery/core';
import {
  connectionChecks,
  connectRedis,
  type LendsStates,
  type RedisConnection,
  type RedisConnectionOptions,
  redisError,
  runScript,
  statesOnServer,
} from '@machinery/redis-client';
import { DelayedMover } from './delayed-mover.ts';
import { blockSeconds, RedisConsumer, type RedisConsumerOptions } from './redis-consumer.ts';
import { send } from './scripts.ts';

export interface RedisBrokerOptions extends RedisConnectionOptions {
  /** The sorted set of delayed messages. Default: `delayed_tasks`, as in Go. */
  readonly delayedTasksKey?: string;
  /** How long a worker is believed to live after its last beat, in milliseconds. Default: 20,000. */
  readonly leaseMs?: number;
  /** How often a worker beats, in milliseconds: at most a third of `leaseMs`. Default: 5,000, or a quarter of `leaseMs` if that is less. */
  readonly beatMs?: number;
  /** How often dead workers are looked for, in milliseconds. Default: as `beatMs`. */
  readonly scanMs?: number;
  /**
   * How long a task may block the event loop before its worker counts as dead, in milliseconds. Default: 600,000. 0: as long as
   * a lease, and the process saves the thread that beats meanwhile, 18 MB.
   */
  readonly maxBlockedMs?: number;
  /** How often delayed messages are looked for where the server does not say that there are new ones, in milliseconds. Default: 250. */
  readonly delayedPollMs?: number;
  /** How many dead messages a queue keeps before the oldest is dropped. Default: 1,000. */
  readonly maxDeadMessages?: number;
}

/** The most characters that one command pushes. */
const pushLength = 1_000_000;

/** A message, and the state that is stored before it. */
type Publication = Pick<Send, 'message'> & Partial<Pick<Send, 'pending'>>;

/** What one command stores of a publish. */
interface Destination {
  /** Undefined: the messages are delayed. */
  readonly queue: string | undefined;
  /** Places among the messages of the publish. */
  readonly places: number[];
  /** The messages; those that are delayed each after its score. */
  readonly values: string[];
  /** The states that are stored before them. */
  readonly keys: string[];
  readonly texts: string[];
  readonly expiresInSeconds: number;
  /** In characters. */
  length: number;
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
  /** As the option of that name; may be changed at any time. */
  delayedPollMs: number;
  readonly #options: RedisBrokerOptions;
  readonly #lease: Lease;
  readonly #connection: RedisConnection;
  readonly #mover: DelayedMover;
  readonly #consumers = new Set<RedisConsumer>();
  readonly #publishing = new UnderWay();
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
      maxBlockedMs: optionalOption(integerOption({ min: 0 })),
      delayedPollMs: optionalOption(integerOption({ min: 1, max: 2 ** 31 - 1 })),
      maxDeadMessages: optionalOption(integerOption({ min: 1 })),
    });
    this.#options = options;
    this.delayedPollMs = options.delayedPollMs ?? 250;
    this.#lease = leaseOf(options);
    this.#connection = connectRedis('RedisBroker', options);
    this.#connection.client.on('close', () => {
      this.#isTimed = false; // the next may be another server
    });
    this.#mover = new DelayedMover({
      connection: this.#connection,
      connect: () => connectRedis('RedisBroker', options, { protocol: 2 }),
      key: this.#delayedKey,
      pollMs: () => this.delayedPollMs,
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
    return this.#publishing.during(() => this.#publish(messages.map((message) => ({ message }))));
  }

  /** @throws MachineryError ERR_MACHINERY_BROKER_UNAVAILABLE, ERR_MACHINERY_CLOSED */
  async ping(): Promise<void> {
    await this.#call('answer', () => this.#connection.client.ping());
  }

  /** With a backend on the same database, a send is one command. */
  sendingWith(backend: Backend): ((sends: readonly Send[]) => Promise<Outcome[]>) | undefined {
    if (this.publish !== RedisBroker.prototype.publish) return undefined; // somebody wants to see what is published
    const encode = (backend as Partial<LendsStates>)[statesOnServer]?.(this.#connection);
    if (encode === undefined) return undefined;
    return (sends) => this.#publishing.during(() => this.#publish(sends, encode));
  }

  /** @param encode the states. */
  async #publish(all: readonly Publication[], encode?: (state: TaskState) => string): Promise<Outcome[]> {
    try {
      if (this.#closed !== undefined) throw closedError();
      if (this.#connection.client.status !== 'ready' || !this.#isTimed) await this.#ready();
    } catch (error) {
      const failure = redisError('broker', 'be reached', error);
      return all.map(() => failed(failure, failure.code === 'ERR_MACHINERY_BROKER_UNAVAILABLE'));
    }
    const outcomes = new Array<Outcome>(all.length);
    await Promise.all(this.#destinationsOf(all, encode).map((to) => this.#push(to, outcomes)));
    return outcomes;
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

  async countPending(queue: string): Promise<number> {
    return this.#call('count a queue', () => this.#connection.client.llen(queue));
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
    await Promise.all([moved, this.#publishing.none()]);
    await this.#connection.close();
    for (const result of closed) if (result.status === 'rejected') throw result.reason;
  }

  /** Connects, so that whatever fails after it may have been sent. */
  async #ready(): Promise<void> {
    const [seconds, microseconds] = await this.#connection.client.time();
    this.#aheadMs = Number(seconds) * 1_000 + Number(microseconds) / 1_000 - performance.now();
    this.#isTimed = true;
  }

  /** Where messages go, each with one command: the delayed set, and each queue. States of one command expire alike. */
  #destinationsOf(publications: readonly Publication[], encode?: (state: TaskState) => string): Destination[] {
    const now = performance.now() + this.#aheadMs;
    const all: Destination[] = [];
    const open = new Map<string | undefined, Destination>();
    for (let place = 0; place < publications.length; place++) {
      const { message, pending } = publications[place] as Publication;
      const { routingKey, dueAtMs, body } = message;
      const queue = dueAtMs === undefined || dueAtMs <= now ? routingKey : undefined;
      const text = pending && encode?.(pending.state);
      const expiresInSeconds = pending?.expiresInSeconds ?? 0;
      const length = body.length + (text?.length ?? 0);
      let to = open.get(queue);
      if (to === undefined || to.length + length > pushLength || to.expiresInSeconds !== expiresInSeconds) {
        to = { queue, expiresInSeconds, places: [], values: [], keys: [], texts: [], length: 0 };
        open.set(queue, to);
        all.push(to);
      }
      to.length += length;
      to.places.push(place);
      if (queue === undefined) to.values.push(`${dueAtMs}000000`);
      to.values.push(body);
      if (pending === undefined || text === undefined) continue;
      to.keys.push(pending.state.taskUuid);
      to.texts.push(text);
    }
    return all;
  }

  async #push(destination: Destination, outcomes: Outcome[]): Promise<void> {
    const { keys, places } = destination;
    const outcome = await this.#store(destination);
    // What Redis refuses of several, it may refuse for the state of one of them: nothing was published.
    const isRefused = outcome.status === 'failed' && !outcome.retryable && keys.length > 1;
    if (isRefused) await Promise.all(eachOf(destination).map((each) => this.#push(each, outcomes)));
    else for (const place of places) outcomes[place] = outcome;
  }

  async #store({ queue, expiresInSeconds, keys, texts, values }: Destination): Promise<Outcome> {
    const { client } = this.#connection;
    const key = queue ?? this.#delayedKey;
    try {
      if (keys.length > 0) {
        const script = { ...send, keys: keys.length + 1 };
        const command = queue === undefined ? 'ZADD' : 'RPUSH';
        await runScript(client, script, key, ...keys, command, expiresInSeconds, ...texts, ...values);
      } else if (queue === undefined) await client.zadd(key, ...values);
      else await client.rpush(key, ...values);
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

/** The same, one message at a time. */
function eachOf({ places, values, keys, texts, ...rest }: Destination): Destination[] {
  const width = values.length / places.length;
  return places.map((place, i) => ({
    ...rest,
    places: [place],
    values: values.slice(i * width, (i + 1) * width),
    keys: keys.slice(i, i + 1),
    texts: texts.slice(i, i + 1),
  }));
}

function leaseOf(options: RedisBrokerOptions): Lease {
  const { leaseMs = 20_000, beatMs = Math.min(5_000, Math.floor(leaseMs / 4)) } = options;
  const { scanMs = beatMs, maxBlockedMs = 600_000 } = options;
  if (beatMs * 3 > leaseMs)
    throw invalid(`\`beatMs\` to be at most a third of \`leaseMs\`, got ${beatMs} and ${leaseMs}`);
  if (maxBlockedMs !== 0 && maxBlockedMs < beatMs * 3)
    throw invalid(`\`maxBlockedMs\` to be 0, or at least three times \`beatMs\`, got ${maxBlockedMs} and ${beatMs}`);
  return { leaseMs, beatMs, scanMs, maxBlockedMs };
}

function invalid(expected: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_OPTION', `RedisBroker: expected ${expected}`);
}

function closedError(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The Redis broker is closed');
}
