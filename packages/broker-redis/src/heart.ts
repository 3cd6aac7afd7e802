// Beats of this process's workers. They come from a thread of their own (`thread/beats.mjs`), one for the process, so that a
// task that blocks the event loop does not make its worker look dead.

import process from 'node:process';
import { Worker } from 'node:worker_threads';
import type { Logger } from '@machinery/core';
import { type RedisConnection, type RedisWhere, runScript } from '@machinery/redis-client';
import { beat } from './scripts.ts';

/** Milliseconds of a clock that all threads share and that nobody sets. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
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
  /** By `process.hrtime.bigint()`. */
  readonly askedAt: bigint;
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
  /** The server had a beat, sent at `askedAtMs` of `monotonicMs`, and knew the worker or did not. */
  readonly onBeat: (askedAtMs: number, isKnown: boolean) => void;
}

/** How long the thread stays when nobody needs it, in milliseconds. */
const lingerMs = 1_000;

const hearts = new Map<number, Heart>();
let thread: Worker | undefined;
let linger: NodeJS.Timeout | undefined;
let lastId = 0;

/** One worker's beats, until it is stopped. */
export class Heart {
  readonly #options: HeartOptions;
  readonly #id = ++lastId;
  readonly #timer: NodeJS.Timeout;
  #isInThread = false;

  constructor(options: HeartOptions) {
    this.#options = options;
    const { connection, workers, worker, leaseMs, beatMs, maxBlockedMs, logger } = options;
    const { where } = connection;
    if (where === undefined) {
      logger.warn(
        `The connection to Redis has settings that a thread cannot have (functions): worker ${worker} beats from the main \
thread, and a task that blocks it for ${leaseMs} ms counts as lost`,
      );
    } else {
      hearts.set(this.#id, this);
      const beating = { where, script: beat.lua, keys: [workers], args: [worker, leaseMs], beatMs, maxBlockedMs };
      post({ kind: 'start', id: this.#id, ...beating });
      this.#isInThread = true;
    }
    this.#timer = setInterval(() => this.#tick(), beatMs);
  }

  stop(): void {
    clearInterval(this.#timer);
    if (!hearts.delete(this.#id)) return;
    thread?.postMessage({ kind: 'stop', id: this.#id } satisfies ToThread);
    if (hearts.size === 0) linger = setTimeout(endThread, lingerMs).unref();
  }

  onBeat({ askedAt, isKnown }: FromThread): void {
    this.#options.onBeat(Number(askedAt) / 1e6, isKnown);
  }

  onThreadError(error: Error): void {
    this.#isInThread = false;
    this.#options.logger.warn(
      `Worker ${this.#options.worker} beats from the main thread: that for beats failed`,
      error,
    );
  }

  #tick(): void {
    if (this.#isInThread) thread?.postMessage({ kind: 'alive' } satisfies ToThread);
    else void this.#beat();
  }

  async #beat(): Promise<void> {
    const { connection, workers, worker, leaseMs, logger, onBeat } = this.#options;
    const askedAtMs = monotonicMs();
    try {
      onBeat(askedAtMs, (await runScript(connection.client, beat, workers, worker, leaseMs)) === 1);
    } catch (error) {
      logger.debug('A beat failed', error); // the consumer's own calls say it
    }
  }
}

function post(message: ToThread): void {
  clearTimeout(linger);
  thread ??= startThread();
  thread.postMessage(message);
}

function startThread(): Worker {
  const started = new Worker(new URL('../thread/beats.mjs', import.meta.url), { name: 'machinery beats' });
  started.on('message', (message: FromThread) => hearts.get(message.id)?.onBeat(message));
  started.on('error', (error) => {
    if (thread !== started) return;
    thread = undefined;
    for (const heart of hearts.values()) heart.onThreadError(error as Error);
    hearts.clear();
  });
  started.unref(); // after its listeners, which would hold the process
  return started;
}

function endThread(): void {
  void thread?.terminate();
  thread = undefined;
}
