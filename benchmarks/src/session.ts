// One system in one cell of one round: a Redis or a queue of its own, and the processes that it asks for.

import { startRedis } from '@machinery/services';
import { Redis } from 'ioredis';
import { Peer } from './peer.ts';
import type { Rabbit } from './rabbit.ts';
import { type Sizes, sharedOut } from './sizes.ts';
import type { SystemRow } from './systems.ts';

interface OwnRedis {
  readonly url: string;
  readonly client: Redis;
  stop(): Promise<void>;
}

interface Servers {
  readonly redis?: OwnRedis;
  readonly queue?: { readonly url: string; readonly name: string };
}

export class Session implements AsyncDisposable {
  readonly sizes: Sizes;
  readonly #system: SystemRow;
  readonly #servers: Servers;
  readonly #peers: Peer[] = [];
  #sender: Peer | undefined;
  #worker: Peer | undefined;

  private constructor(system: SystemRow, sizes: Sizes, servers: Servers) {
    this.#system = system;
    this.sizes = sizes;
    this.#servers = servers;
  }

  static async start(system: SystemRow, sizes: Sizes, rabbit: Rabbit): Promise<Session> {
    const queue = system.needsRabbit && { url: await rabbit.url(), name: rabbit.newQueue() };
    const redis = system.noRedis ? undefined : await ownRedis();
    return new Session(system, sharedOut(sizes, system.share ?? 1), {
      ...(redis && { redis }),
      ...(queue && { queue }),
    });
  }

  get redis(): Redis {
    const { redis } = this.#servers;
    if (redis === undefined) throw new Error(`${this.#system.title} has no Redis`);
    return redis.client;
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
    const { redis, queue } = this.#servers;
    const config = { ...this.#system.config, redis: redis?.url, amqp: queue?.url, queue: queue?.name };
    const peer = new Peer(program, config, this.sizes.limitMs.request);
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
    await this.#servers.redis?.stop();
  }
}

async function ownRedis(): Promise<OwnRedis> {
  const redis = await startRedis();
  if (redis === undefined) throw new Error('There is no redis-server');
  const client = new Redis(redis.url);
  const stop = async () => {
    client.disconnect();
    await redis.stop();
  };
  return { url: redis.url, client, stop };
}
