// Moves delayed messages to their queues when they are due. It sleeps until the first of them is; the server says when the
// sorted set changes (CLIENT TRACKING), whoever changes it. Where it does not, in a Cluster for one, the set is polled.

import type { Logger } from '@machinery/core';
import { type RedisConnection, redisError, runScript } from '@machinery/redis-client';
import { lendDelayed, moveDelayed } from './scripts.ts';

export interface DelayedMoverOptions {
  readonly connection: RedisConnection;
  /** For the server's word that the set has changed. */
  readonly connect: () => RedisConnection;
  /** The sorted set. */
  readonly key: string;
  readonly pollMs: () => number;
  readonly defaultQueue: () => string;
  readonly logger: () => Logger;
}

/** How many messages one step moves. */
const moveSize = 500;
/** How long a message is lent in a Cluster, in milliseconds: so much later it is moved again when we die halfway. */
const lendMs = 10_000;
/** When to try again what cannot be moved, in milliseconds: to a queue without rights, or a key that is no list. */
const refusedMs = 60_000;
/** The least time between two looks at a set that changes all the time, in milliseconds. */
const restMs = 10;
/** How often to look though the server would say if the set had changed: by how many polls. */
const trackedPolls = 4;
/** The most that a timer can wait, in milliseconds. */
const longestTimerMs = 2 ** 31 - 1;
/** Where the server says that a key has changed. */
const channel = '__redis__:invalidate';

/** Messages that were lent for one queue, and what their scores were. */
interface Loan {
  readonly bodies: string[];
  readonly scores: string[];
}

type Moved = readonly [moved: number, nextScore: string, nextMs: number, refused: string];

export class DelayedMover {
  readonly #options: DelayedMoverOptions;
  #timer: NodeJS.Timeout | undefined;
  #tracking: RedisConnection | undefined;
  #isTracked = false;
  #looking: Promise<void> | undefined;
  #changed = false;
  /** The first of those that are not due, and when it is. */
  #next: { readonly score: string; readonly at: number } | undefined;
  #closed = false;

  constructor(options: DelayedMoverOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#closed) return;
    this.#track();
    this.#lookIn(0);
  }

  /** Ends after the look that is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#looking;
    await this.#tracking?.close();
  }

  #track(): void {
    const { connect, connection, key } = this.#options;
    if (connection.isCluster) return;
    this.#tracking = connect();
    const { client } = this.#tracking;
    client.on('message', () => this.#change());
    client.on('close', () => {
      this.#isTracked = false;
    });
    client.on('ready', async () => {
      try {
        const id = await client.client('ID');
        await client.call('CLIENT', 'TRACKING', 'ON', 'REDIRECT', id, 'BCAST', 'PREFIX', key);
        await client.subscribe(channel);
        this.#isTracked = true;
        this.#change(); // it may have while nobody listened
      } catch {} // a server that does not track is polled
    });
    client.connect().catch(() => {}); // it comes back by itself
  }

  /** The set has changed: one look tells of all changes until then. */
  #change(): void {
    if (this.#looking !== undefined) this.#changed = true;
    else if (this.#next === undefined || this.#next.at > performance.now() + restMs) this.#lookIn(restMs);
  }

  #lookIn(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(
      () => {
        this.#looking = this.#look();
      },
      Math.min(ms, longestTimerMs),
    );
  }

  async #look(): Promise<void> {
    const { logger } = this.#options;
    const pollMs = this.#options.pollMs();
    this.#changed = false;
    let waitMs: number;
    try {
      waitMs = await this.#moveDue();
    } catch (error) {
      logger().debug('Delayed messages could not be moved', error);
      waitMs = 1_000;
    }
    this.#looking = undefined;
    this.#lookIn(Math.min(waitMs, this.#changed ? restMs : this.#isTracked ? pollMs * trackedPolls : pollMs));
  }

  /** Moves what is due. Returns in how many milliseconds the next is. */
  async #moveDue(): Promise<number> {
    const { connection, key } = this.#options;
    const [, first] = await connection.client.zrange(key, '0', '0', 'WITHSCORES');
    if (first === undefined) this.#next = undefined;
    else if (first !== this.#next?.score || performance.now() >= this.#next.at) {
      const [moved, score, nextMs, refused] = await (connection.isCluster ? this.#lend() : this.#move());
      if (refused !== '')
        this.#options.logger().warn(`A delayed message cannot be moved and is tried again every minute: ${refused}`);
      this.#next = nextMs < 0 ? undefined : { score, at: performance.now() + nextMs };
      if (moved === moveSize) return 0;
    }
    return this.#next === undefined ? Number.POSITIVE_INFINITY : Math.max(0, this.#next.at - performance.now());
  }

  async #move(): Promise<Moved> {
    const { connection, key, defaultQueue } = this.#options;
    return (await runScript(connection.client, moveDelayed, key, moveSize, defaultQueue(), refusedMs)) as Moved;
  }

  /**
   * Each step leaves the messages where somebody finds them: one that dies halfway pushes some of them twice. Those of one
   * queue that several movers lend at the same time may overtake each other.
   */
  async #lend(): Promise<Moved> {
    const { connection, key } = this.#options;
    const lentAt = performance.now();
    const [lent, score, nextMs] = (await runScript(connection.client, lendDelayed, key, moveSize, lendMs)) as [
      bodiesAndScores: string[],
      nextScore: string,
      nextMs: number,
    ];
    let refused = '';
    const push = async ([queue, loan]: [string, Loan]) => {
      if (performance.now() - lentAt > lendMs / 2) return; // we were stopped: others may have it by now
      refused = (await this.#pushLent(queue, loan)) ?? refused;
    };
    await Promise.all([...this.#loansOf(lent)].map(push));
    return [lent.length / 2, score, nextMs, refused];
  }

  #loansOf(lent: readonly string[]): Map<string, Loan> {
    const loans = new Map<string, Loan>();
    for (let i = 0; i < lent.length; i += 2) {
      const [body, score] = lent.slice(i, i + 2) as [string, string];
      const queue = queueOf(body) ?? this.#options.defaultQueue();
      const loan = loans.get(queue) ?? { bodies: [], scores: [] };
      loans.set(queue, loan);
      loan.bodies.push(body);
      loan.scores.push(score);
    }
    return loans;
  }

  /** Returns why they cannot be pushed, now or later. */
  async #pushLent(queue: string, { bodies, scores }: Loan): Promise<string | undefined> {
    const { connection, key } = this.#options;
    const { client } = connection;
    try {
      await client.rpush(queue, ...bodies);
    } catch (cause) {
      const error = redisError('broker', `move delayed messages to queue ${queue}`, cause);
      const isRefused = error.code === 'ERR_MACHINERY_BROKER_FAILED';
      const later = `${Date.now() + refusedMs}000000`;
      await client.zadd(key, 'XX', ...bodies.flatMap((body, i) => [isRefused ? later : (scores[i] as string), body]));
      if (isRefused) return error.message;
      throw error;
    }
    await client.zrem(key, ...bodies);
    return undefined;
  }
}

/** Where a message says that it belongs. */
function queueOf(body: string): string | undefined {
  try {
    const { RoutingKey: queue } = JSON.parse(body);
    return typeof queue === 'string' && queue !== '' ? queue : undefined;
  } catch {
    return undefined;
  }
}
