// One system in one cell of one round: a Redis of its own, and the processes that it asks for.

import { startRedis } from '@machinery/services';
import { Redis } from 'ioredis';
import { Peer } from './peer.ts';
import type { Sizes } from './sizes.ts';
import type { SystemRow } from './systems.ts';

interface OwnRedis {
  readonly url: string;
  readonly client: Redis;
  stop(): Promise<void>;
}

export class Session implements AsyncDisposable {
  readonly sizes: Sizes;
  readonly #system: SystemRow;
  readonly #redis: OwnRedis | undefined;
  readonly #peers: Peer[] = [];
  #sender: Peer | undefined;
  #worker: Peer | undefined;

  private constructor(system: SystemRow, sizes: Sizes, redis: OwnRedis | undefined) {
    this.#system = system;
    this.sizes = sizes;
    this.#redis = redis;
  }

  static async start(system: SystemRow, sizes: Sizes): Promise<Session> {
    if (system.noRedis) return new Session(system, sizes, undefined);
    const redis = await startRedis();
    if (redis === undefined) throw new Error('There is no redis-server');
    const client = new Redis(redis.url);
    const stop = async () => {
      client.disconnect();
      await redis.stop();
    };
    return new Session(system, sizes, { url: redis.url, client, stop });
  }

  get redis(): Redis {
    if (this.#redis === undefined) throw new Error(`${this.#system.title} has no Redis`);
    return this.#redis.client;
  }

  get sender(): Peer {
    this.#sender ??= this.newPeer();
    return this.#sender;
  }

  get worker(): Peer {
    this.#worker ??= this.#system.oneProcess ? this.sender : this.newPeer();
    return this.#worker;
  }

  /** Starts both, so that no start is measured. */
  async ready(): Promise<void> {
    await Promise.all([...new Set([this.sender, this.worker])].map((peer) => peer.ask({ do: 'hello' })));
  }

  newPeer(): Peer {
    const program = this.#system.program();
    if (program === undefined) throw new Error(`${this.#system.title} is not there`);
    const peer = new Peer(program, { ...this.#system.config, redis: this.#redis?.url }, this.sizes.limitMs.request);
    this.#peers.push(peer);
    return peer;
  }

  /** Fails unless exactly these numbers of tasks ran, each once, and so many results are stored. */
  async verify(ran: number, stored?: number): Promise<void> {
    const runs = await this.runs();
    const distinct = new Set(runs.map(([a]) => a)).size;
    if (runs.length !== ran || distinct !== ran)
      throw new Error(`${runs.length} runs of ${distinct} tasks, expected ${ran} of ${ran}`);
    if (stored === undefined) return;
    const { stored: found } = await this.sender.ask<{ stored: number }>({ do: 'check' });
    if (found !== stored) throw new Error(`${found} results are stored, expected ${stored}`);
  }

  /** The number of each task that ran, and when it began. */
  async runs(): Promise<readonly (readonly [a: number, startedAt: number])[]> {
    return (await this.worker.ask<{ runs: [number, number][] }>({ do: 'runs' })).runs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#peers.map((peer) => peer.kill()));
    await this.#redis?.stop();
  }
}
