// This project, on Redis or, without `redis`, on the in-memory engine.

import { RedisBackend } from '@machinery/backend-redis';
import { RedisBroker } from '@machinery/broker-redis';
import { type AsyncResult, chord, defineTask, int64, rest, Server, silentLogger } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { Redis } from 'ioredis';
import { type Add, type System, serve } from './serve.ts';
import { versions } from './versions.ts';

const add = defineTask('add', { args: [int64, int64], returns: int64 });
const total = defineTask('total', { args: rest(int64), returns: int64 });

interface Config {
  readonly redis?: string;
  readonly push?: boolean;
  readonly maxBlockedMs?: number;
}

class Machinery implements System<AsyncResult<number>> {
  readonly versions = versions('@machinery/core', 'ioredis');
  readonly #server: Server;
  readonly #redis: Redis | undefined;
  #add: Add = () => Number.NaN;

  constructor({ redis: url, push = true, maxBlockedMs = 600_000 }: Config) {
    const adapters =
      url === undefined
        ? { broker: new MemoryBroker(), backend: new MemoryBackend() }
        : { broker: new RedisBroker({ url, maxBlockedMs }), backend: new RedisBackend({ url, push }) };
    this.#redis = url === undefined ? undefined : new Redis(url);
    this.#server = new Server({ ...adapters, logger: silentLogger });
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
    // In memory nothing tells from outside; stopping takes no time there.
    if (this.#redis === undefined) return stop().then(() => true);
    return (await this.#redis.llen(queue)) + (await this.#redis.hlen(`{${queue}}:inflight`)) === 0;
  }
}

await serve((config: Config) => new Machinery(config));
