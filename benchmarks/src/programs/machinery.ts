// This project: on RabbitMQ where there is one, with results in Redis or in it, else on Redis or, without one, on the in-memory engine.

import { AmqpBackend } from '@machinery/backend-amqp';
import { RedisBackend } from '@machinery/backend-redis';
import { AmqpBroker } from '@machinery/broker-amqp';
import { RedisBroker } from '@machinery/broker-redis';
import {
  type AsyncResult,
  type Backend,
  type Broker,
  chord,
  defineTask,
  int64,
  rest,
  Server,
  silentLogger,
} from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { Redis } from 'ioredis';
import { type Add, type System, serve } from './serve.ts';
import { versions } from './versions.ts';

const add = defineTask('add', { args: [int64, int64], returns: int64 });
const total = defineTask('total', { args: rest(int64), returns: int64 });

interface Config {
  readonly redis?: string;
  readonly amqp?: string;
  readonly queue?: string;
  readonly results?: 'amqp';
  /** Of the broker on RabbitMQ. */
  readonly prefetch?: number;
  readonly push?: boolean;
  readonly maxBlockedMs?: number;
}

class Machinery implements System<AsyncResult<number>> {
  readonly versions = versions('@machinery/core', 'ioredis', 'amqplib');
  readonly #server: Server;
  readonly #redis: Redis | undefined;
  #add: Add = () => Number.NaN;

  constructor(config: Config) {
    const { redis, amqp, queue } = config;
    // Elsewhere a worker that has stopped tells it: its connection is closed when all is acked
    this.#redis = redis === undefined || amqp !== undefined ? undefined : new Redis(redis);
    this.#server = new Server({
      broker: brokerOf(config),
      backend: backendOf(config),
      logger: silentLogger,
      ...(queue !== undefined && { defaultQueue: queue }),
    });
    this.#server.handle(add, (_task, a, b) => this.#add(a, b));
    this.#server.handle(total, (_task, ...terms) => terms.reduce((a, b) => a + b, 0));
  }

  send(a: number, at?: Date) {
    return this.#server.send(add(a, 1), at && { eta: at });
  }

  sendBulk(a: number, count: number) {
    return Promise.all(Array.from({ length: count }, (_, i) => this.#server.send(add(a + i, 1))));
  }

  result(sent: AsyncResult<number>) {
    return sent.get();
  }

  async stored(sent: readonly AsyncResult<number>[]) {
    const touched = await Promise.all(sent.map((one) => one.touch()));
    return touched.map((one) => (one.done ? one.value : undefined));
  }

  async chord(size: number) {
    const members = Array.from({ length: size }, (_, i) => add(i, 1));
    const result = await this.#server.send(chord(members, total.partial()));
    return result.get();
  }

  async startWorker(concurrency: number, handler: Add) {
    this.#add = handler;
    const worker = this.#server.newWorker('bench', { concurrency });
    await worker.start();
    const stop = () => worker.quit();
    return { stop, settled: async () => this.#settled(stop) };
  }

  async #settled(stop: () => Promise<void>): Promise<boolean> {
    const queue = this.#server.defaultQueue;
    if (this.#redis === undefined) return stop().then(() => true);
    return (await this.#redis.llen(queue)) + (await this.#redis.hlen(`{${queue}}:inflight`)) === 0;
  }
}

function brokerOf({ amqp, redis, queue = '', prefetch, maxBlockedMs = 600_000 }: Config): Broker {
  if (amqp !== undefined)
    return new AmqpBroker({ url: amqp, bindingKey: queue, ...(prefetch !== undefined && { prefetch }) });
  return redis === undefined ? new MemoryBroker() : new RedisBroker({ url: redis, maxBlockedMs });
}

function backendOf({ amqp, redis, results, push = true }: Config): Backend {
  if (amqp !== undefined && results === 'amqp') return new AmqpBackend({ url: amqp });
  return redis === undefined ? new MemoryBackend() : new RedisBackend({ url: redis, push });
}

await serve((config: Config) => new Machinery(config));
