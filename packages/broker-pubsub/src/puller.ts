// Pulls of one subscription. One waits while it is empty; while they bring messages, more are under way at once, so that a slot that gets
// free does not wait for the pull of another. They are cut only when the broker is closed, and late: what Pub/Sub hands to a call that
// is gone waits for the ack deadline.

import { setTimeout as sleep } from 'node:timers/promises';
import type { protos } from '@google-cloud/pubsub';
import type { Clients } from './clients.ts';
import { isTimeout } from './errors.ts';

export type ReceivedMessage = protos.google.pubsub.v1.IReceivedMessage;

export interface PullerOptions {
  readonly clients: Clients;
  readonly subscription: string;
  /** How many pulls may be under way at once. */
  readonly maxPulls: number;
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
/** The next pull comes no sooner after one that brought nothing, in milliseconds, should the server not wait. */
const minEmptyMs = 100;

interface Pull {
  readonly startedAt: number;
  readonly abort: AbortController;
  ended: Promise<void>;
}

export class Puller {
  readonly #options: PullerOptions;
  readonly #underWay = new Set<Pull>();
  /** How many messages they may bring. */
  #asked = 0;
  /** The last pull brought something, and had not waited for it. */
  #isBusy = false;

  constructor(options: PullerOptions) {
    this.#options = options;
  }

  /** Pulls until as many messages are asked for as there is room, those that were asked for before included. */
  pull(room: number): void {
    while (this.#asked < room && this.#underWay.size < (this.#isBusy ? this.#options.maxPulls : 1)) {
      const pull: Pull = { startedAt: performance.now(), abort: new AbortController(), ended: Promise.resolve() };
      this.#underWay.add(pull);
      pull.ended = this.#pull(pull, Math.min(maxMessages, room - this.#asked));
    }
  }

  /** Resolves when nothing is under way. */
  async ended(): Promise<void> {
    await Promise.all([...this.#underWay].map(({ ended }) => ended));
  }

  /** Ends those that wait in vain, and gives the others the time to bring what the server may be handing to them. */
  async end(): Promise<void> {
    const ending = [...this.#underWay].map(async ({ startedAt, abort, ended }) => {
      // With a turn of the event loop, in which an answer is read that is here already
      const timer = setTimeout(
        () => setImmediate(() => abort.abort()),
        Math.max(0, startedAt + emptyMs - performance.now()),
      );
      await ended;
      clearTimeout(timer);
    });
    await Promise.all(ending);
  }

  async #pull(pull: Pull, count: number): Promise<void> {
    const { onMessages, onError } = this.#options;
    this.#asked += count;
    try {
      const messages = await this.#ask(pull, count);
      this.#isBusy = messages.length > 0 && performance.now() - pull.startedAt < emptyMs;
      this.#end(pull, count);
      onMessages(messages);
    } catch (error) {
      this.#isBusy = false;
      this.#end(pull, count);
      onError(error as Error);
    }
  }

  #end(pull: Pull, count: number): void {
    this.#underWay.delete(pull);
    this.#asked -= count;
  }

  async #ask({ startedAt, abort: { signal } }: Pull, count: number): Promise<readonly ReceivedMessage[]> {
    const { clients, subscription } = this.#options;
    const answer = await clients
      .call(
        `pull from ${subscription}`,
        ({ subscriber }, options) => subscriber.pull({ subscription, maxMessages: count }, options),
        { timeoutMs, signal },
      )
      .catch((error) => {
        if (!isTimeout(error) && !signal.aborted) throw error;
      });
    const messages = answer?.receivedMessages ?? [];
    const restMs = startedAt + minEmptyMs - performance.now();
    if (messages.length === 0 && restMs > 0) await sleep(restMs, undefined, { signal }).catch(() => {});
    return messages;
  }
}
