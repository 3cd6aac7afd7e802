// Beats of this process's workers. They come from a thread of their own (`thread/beats.mjs`), one for the process, so that a
// task that blocks the event loop does not make its worker look dead. Where that does not work, or is not wanted, they come from here.

import process from 'node:process';
import { Worker } from 'node:worker_threads';
import type { Logger } from '@machinery/core';
import { type RedisConnection, type RedisWhere, runScript } from '@machinery/redis-client';
import { beat } from './scripts.ts';

/**
 * A moment that all threads tell in the same way: by a clock that nobody sets, but that stops while some machines sleep,
 * and by one that goes on. In milliseconds.
 */
export interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

export function now(): Moment {
  return { monotonic: Number(process.hrtime.bigint()) / 1e6, wall: Date.now() };
}

/** How much time lies between two moments at most, in milliseconds. */
export function between(earlier: Moment, later: Moment): number {
  return Math.max(later.monotonic - earlier.monotonic, later.wall - earlier.wall);
}

export type ToThread =
  | { readonly kind: 'alive' }
  | { readonly kind: 'stop'; readonly id: number }
  | {
      readonly kind: 'start';
      readonly id: number;
      readonly where: RedisWhere;
      readonly script: string;
      readonly keys: readonly string[];
      readonly args: readonly (string | number)[];
      readonly beatMs: number;
      readonly maxBlockedMs: number;
    };

export interface FromThread {
  readonly id: number;
  readonly askedAt: Moment;
  readonly isKnown: boolean;
}

export interface HeartOptions {
  readonly connection: RedisConnection;
  /** The registry's key, and the worker's name in it. */
  readonly workers: string;
  readonly worker: string;
  readonly leaseMs: number;
  readonly beatMs: number;
  readonly maxBlockedMs: number;
  readonly logger: Logger;
  /** The server had a beat, which was sent at `askedAt`, and knew the worker or did not. */
  readonly onBeat: (askedAt: Moment, isKnown: boolean) => void;
}

/** How long the thread stays when nobody needs it, in milliseconds. */
const lingerMs = 1_000;

/** A beat needs next to nothing, in megabytes. */
const resourceLimits = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 };

const hearts = new Map<number, Heart>();
let thread: Worker | undefined;
let linger: NodeJS.Timeout | undefined;
let lastId = 0;

/** One worker's beats, until it is stopped. */
export class Heart {
  readonly #options: HeartOptions;
  readonly #id = ++lastId;
  readonly #timer: NodeJS.Timeout;
  /** Ticks of ours since the thread has reached the server: time would also count while this thread is blocked. */
  #ticksAlone = 0;
  #isWarned = false;

  constructor(options: HeartOptions) {
    this.#options = options;
    const { beatMs, maxBlockedMs } = options;
    if (maxBlockedMs > 0) this.#beatFromThread();
    this.#timer = setInterval(() => this.#tick(), beatMs);
  }

  #beatFromThread(): void {
    const { connection, workers, worker, leaseMs, beatMs, maxBlockedMs } = this.#options;
    const { where } = connection;
    if (where === undefined) this.#warn('the settings of its connection have functions, which no thread can have');
    else {
      hearts.set(this.#id, this);
      const beating = { where, script: beat.lua, keys: [workers], args: [worker, leaseMs], beatMs, maxBlockedMs };
      try {
        post({ kind: 'start', id: this.#id, ...beating });
      } catch (error) {
        this.endThread(error);
      }
    }
  }

  stop(): void {
    clearInterval(this.#timer);
    if (!hearts.delete(this.#id)) return;
    thread?.postMessage({ kind: 'stop', id: this.#id } satisfies ToThread);
    if (hearts.size === 0) linger = setTimeout(endThread, lingerMs).unref();
  }

  onThreadBeat({ askedAt, isKnown }: FromThread): void {
    this.#ticksAlone = 0;
    this.#options.onBeat(askedAt, isKnown);
  }

  /** Beats come from here from now on. */
  endThread(error: unknown): void {
    hearts.delete(this.#id);
    this.#warn('the thread for beats failed', error);
  }

  #tick(): void {
    this.#ticksAlone += 1;
    if (hearts.has(this.#id)) thread?.postMessage({ kind: 'alive' } satisfies ToThread);
    if (!hearts.has(this.#id) || this.#ticksAlone >= 2) void this.#beat();
  }

  async #beat(): Promise<void> {
    const { connection, workers, worker, leaseMs, beatMs, logger, onBeat } = this.#options;
    const askedAt = now();
    try {
      onBeat(askedAt, (await runScript(connection.client, beat, workers, worker, leaseMs)) === 1);
      // Redis is there, for us
      if (hearts.has(this.#id) && this.#ticksAlone * beatMs > leaseMs)
        this.#warn('the thread for beats does not reach Redis');
    } catch (error) {
      logger.debug('A beat failed', error); // the consumer's own calls say it
    }
  }

  #warn(why: string, error?: unknown): void {
    if (this.#isWarned) return;
    this.#isWarned = true;
    const { worker, leaseMs, logger } = this.#options;
    const text = `Worker ${worker} beats from the main thread, so that a task that blocks it for ${leaseMs} ms counts as lost: ${why}`;
    if (error === undefined) logger.warn(text);
    else logger.warn(text, error);
  }
}

function post(message: ToThread): void {
  clearTimeout(linger);
  thread ??= startThread();
  thread.postMessage(message);
}

/** @throws where a program may not start threads, or does not have the file beside it (bundled). */
function startThread(): Worker {
  const file = new URL('../thread/beats.mjs', import.meta.url);
  const started = new Worker(file, { name: 'machinery beats', execArgv: [], resourceLimits });
  started.on('message', (message: FromThread) => hearts.get(message.id)?.onThreadBeat(message));
  started.on('error', (error) => {
    if (thread !== started) return;
    thread = undefined;
    for (const heart of hearts.values()) heart.endThread(error);
  });
  started.unref(); // after its listeners, which would hold the process
  return started;
}

function endThread(): void {
  void thread?.terminate();
  thread = undefined;
}
