// Pulls of one subscription, one at a time, which waits while there is nothing. It is cut only when the broker is closed, and late: what
// Pub/Sub hands to a call that is gone waits for the ack deadline.

import { setTimeout as sleep } from 'node:timers/promises';
import type { protos } from '@google-cloud/pubsub';
import type { Clients } from './clients.ts';
import { isTimeout } from './errors.ts';

export type ReceivedMessage = protos.google.pubsub.v1.IReceivedMessage;

export interface PullerOptions {
  readonly clients: Clients;
  readonly subscription: string;
  /** Called with what each pull brought, also when it is nothing. */
  readonly onMessages: (messages: readonly ReceivedMessage[]) => void;
  readonly onError: (error: Error) => void;
}

/** How long a pull waits, in milliseconds: the server answers before that, with nothing. */
const timeoutMs = 120_000;
/** The server's limit. */
const maxMessages = 1_000;
/** What has waited for longer, in milliseconds, found the subscription empty. */
const emptyMs = 250;
/** And for so long, in milliseconds, it must be left alone to get what this process has published last. */
const graceMs = 50;
/** The next pull comes no sooner after one that brought nothing, in milliseconds, should the server not wait. */
const minEmptyMs = 100;

interface Pull {
  readonly startedAt: number;
  readonly abort: AbortController;
  readonly ended: Promise<void>;
}

export class Puller {
  readonly #options: PullerOptions;
  #underWay: Pull | undefined;

  constructor(options: PullerOptions) {
    this.#options = options;
  }

  /** Asks for so many messages, unless a pull is under way. */
  pull(count: number): void {
    if (this.#underWay !== undefined || count <= 0) return;
    const [startedAt, abort] = [performance.now(), new AbortController()];
    this.#underWay = { startedAt, abort, ended: this.#pull(Math.min(count, maxMessages), startedAt, abort.signal) };
  }

  /** Resolves when none is under way. */
  async ended(): Promise<void> {
    await this.#underWay?.ended;
  }

  /** Ends one that waits in vain, and gives another the time to bring what the server may be handing to it. */
  async end(): Promise<void> {
    if (this.#underWay === undefined) return;
    const { startedAt, abort, ended } = this.#underWay;
    const restMs = Math.max(graceMs, startedAt + emptyMs - performance.now());
    // With a turn of the event loop, in which an answer is read that is here already
    const timer = setTimeout(() => setImmediate(() => abort.abort()), restMs);
    await ended;
    clearTimeout(timer);
  }

  async #pull(count: number, startedAt: number, signal: AbortSignal): Promise<void> {
    const { onMessages, onError } = this.#options;
    try {
      const messages = await this.#ask(count, signal);
      const restMs = startedAt + minEmptyMs - performance.now();
      if (messages.length === 0 && restMs > 0) await sleep(restMs, undefined, { signal }).catch(() => {});
      this.#underWay = undefined;
      onMessages(messages);
    } catch (error) {
      this.#underWay = undefined;
      onError(error as Error);
    }
  }

  async #ask(count: number, signal: AbortSignal): Promise<readonly ReceivedMessage[]> {
    const { clients, subscription } = this.#options;
    try {
      const { receivedMessages } = await clients.call(
        `pull from ${subscription}`,
        ({ subscriber }, options) => subscriber.pull({ subscription, maxMessages: count }, options),
        { timeoutMs, signal },
      );
      return receivedMessages ?? [];
    } catch (error) {
      if (isTimeout(error) || signal.aborted) return [];
      throw error;
    }
  }
}
