// One consumer of one queue. Receives are under way for as many messages as there are free slots; what they bring waits in a
// buffer for the exchange that asks. `settler.ts` says what becomes of deliveries.
//
// States: open -> closed. Invariant: what was received is in hand, with its heartbeat, until it is settled or made visible again.

import type { SQSClient, Message as SqsMessage } from '@aws-sdk/client-sqs';
import { type Consumer, type Logger, type Settlement, UnderWay } from '@machinery/core';
import type { DeadLetters } from './dead-letters.ts';
import { closedError } from './errors.ts';
import { Groups } from './groups.ts';
import { InHand } from './in-hand.ts';
import type { ResolvedOptions } from './options.ts';
import type { Publisher } from './publisher.ts';
import type { Queue } from './queues.ts';
import { Receipts } from './receipts.ts';
import { Receiver } from './receiver.ts';
import { Settler } from './settler.ts';
import { SqsDelivery } from './sqs-delivery.ts';

export interface SqsConsumerOptions {
  readonly queue: Queue;
  readonly client: SQSClient;
  readonly receivingClient: SQSClient;
  readonly publisher: Publisher;
  readonly deadLetters: DeadLetters;
  readonly maxInHand: number;
  readonly options: ResolvedOptions;
  readonly logger: Logger;
  readonly onClose: (consumer: SqsConsumer) => void;
}

/** How long messages may lie here while nobody asks for them, in milliseconds: the worker is paused, or busy. */
const maxIdleMs = 200;
/** What is early by less waits here; more is hidden again. */
const maxHoldMs = 1_000;

export class SqsConsumer implements Consumer<SqsDelivery> {
  readonly #maxInHand: number;
  readonly #hiddenMs: number;
  readonly #inHand: InHand;
  readonly #settler: Settler;
  readonly #receiver: Receiver;
  readonly #groups = new Groups();
  readonly #onClose: (consumer: SqsConsumer) => void;
  /** What can be handed out. */
  #buffer: SqsDelivery[] = [];
  readonly #holds = new Set<NodeJS.Timeout>();
  /** What goes on without anybody waiting for it. */
  readonly #background = new UnderWay();
  #idle: NodeJS.Timeout | undefined;
  #isAsked = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  constructor({
    queue,
    client,
    receivingClient,
    publisher,
    deadLetters,
    maxInHand,
    options,
    logger,
    onClose,
  }: SqsConsumerOptions) {
    const { visibilityTimeoutSeconds, waitTimeSeconds, maxReceives } = options;
    this.#maxInHand = maxInHand;
    this.#hiddenMs = visibilityTimeoutSeconds * 1_000;
    this.#onClose = onClose;
    const receipts = new Receipts<SqsDelivery>(client, queue);
    this.#inHand = new InHand({ receipts, visibilityTimeoutSeconds, logger, queue: queue.name });
    this.#settler = new Settler({
      queue,
      receipts,
      inHand: this.#inHand,
      publisher,
      deadLetters,
      onSettled: (delivery, deleted) => this.#settled(delivery, deleted),
    });
    this.#receiver = new Receiver({
      client: receivingClient,
      queue,
      visibilityTimeoutSeconds,
      waitTimeSeconds,
      maxReceives,
      onMessages: (messages) => this.#received(messages),
      onError: (error) => {
        this.#failure = error;
        this.#wake?.();
      },
    });
  }

  async exchange(
    settled: readonly Settlement<SqsDelivery>[],
    want: number,
    signal: AbortSignal,
  ): Promise<SqsDelivery[]> {
    if (this.#closed !== undefined) throw closedError('consumer');
    const settling = new Settling(this.#settler.settle(settled), () => this.#wake?.());
    this.#isAsked = true;
    clearTimeout(this.#idle);
    try {
      for (;;) {
        if (settling.error !== undefined) throw settling.error;
        if (this.#closed !== undefined) return [];
        if (signal.aborted) {
          this.#settler.flush();
          await settling.ended;
          if (settling.error === undefined) return [];
        } else {
          const some = this.#take(want);
          if (some.length > 0) return some;
          this.#throwFailure();
          this.#receiver.receive(Math.min(want, this.#maxInHand - this.#inHand.size + this.#settler.leaving));
          await this.#change(signal);
        }
      }
    } finally {
      this.#isAsked = false;
      this.#restLater();
    }
  }

  async settle(settled: readonly Settlement<SqsDelivery>[]): Promise<void> {
    if (this.#closed !== undefined) throw closedError('consumer');
    await this.#settler.settle(settled);
  }

  owns(delivery: SqsDelivery): boolean {
    return this.#closed === undefined && this.#inHand.owns(delivery);
  }

  /** Never rejects: what could not be made visible is so when its time is over. Receives that are under way end by themselves, see `drained`. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Resolves when the receives of a closed consumer have ended, and what they brought is visible again. */
  async drained(): Promise<void> {
    await this.#closed;
    await this.#receiver.ended();
    await this.#background.none();
  }

  #received(messages: readonly SqsMessage[]): void {
    const deliveries = messages.map((message) => new SqsDelivery(message, this.#hiddenMs));
    for (const delivery of deliveries) this.#inHand.add(delivery);
    if (this.#closed !== undefined) this.#inBackground(() => this.#settler.giveBack(deliveries));
    else for (const delivery of deliveries) if (this.#groups.admit(delivery)) this.#offer(delivery);
    this.#wake?.();
    this.#restLater();
  }

  #offer(delivery: SqsDelivery): void {
    const earlyMs = delivery.dueAtMs - Date.now();
    if (earlyMs > maxHoldMs) this.#inBackground(() => this.#settler.postpone(delivery, Math.ceil(earlyMs / 1_000)));
    else if (earlyMs > 0) {
      const timer = setTimeout(() => {
        this.#holds.delete(timer);
        this.#offer(delivery);
        this.#restLater(); // all slots may be taken by now
      }, Math.ceil(earlyMs));
      timer.unref();
      this.#holds.add(timer);
    } else {
      this.#buffer.push(delivery);
      this.#wake?.();
    }
  }

  #take(want: number): SqsDelivery[] {
    const taken: SqsDelivery[] = [];
    while (taken.length < want && this.#buffer.length > 0) {
      const delivery = this.#buffer.shift() as SqsDelivery;
      if (this.#inHand.owns(delivery)) taken.push(delivery);
      else this.#inBackground(() => this.#settler.giveBack([delivery])); // it was here for too long, while nothing ran in this process
    }
    return taken;
  }

  /** The next of its group, or all that must come after it. */
  #settled(delivery: SqsDelivery, deleted: boolean): void {
    if (deleted) {
      const next = this.#groups.after(delivery);
      if (next !== undefined) this.#offer(next);
    } else {
      const behind = this.#groups.behind(delivery);
      if (behind.length > 0) this.#inBackground(() => this.#settler.giveBack(behind));
    }
    this.#wake?.(); // there is room
  }

  /** A worker that asks for nothing would keep what it was sent from the others. */
  #restLater(): void {
    clearTimeout(this.#idle);
    if (this.#isAsked || this.#buffer.length === 0) return;
    this.#idle = setTimeout(() => {
      if (!this.#isAsked) this.#inBackground(() => this.#settler.giveBack(this.#buffer.splice(0)));
    }, maxIdleMs);
    this.#idle.unref();
  }

  #throwFailure(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  #inBackground(work: () => Promise<void>): void {
    void this.#background.during(work);
  }

  /** Resolves when something has happened, or the signal fires. */
  async #change(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      signal.addEventListener('abort', resolve as () => void);
    }).finally(() => {
      signal.removeEventListener('abort', this.#wake as () => void);
      this.#wake = undefined;
    });
  }

  async #close(): Promise<void> {
    for (const timer of this.#holds) clearTimeout(timer);
    clearTimeout(this.#idle);
    this.#wake?.();
    await this.#settler.finish();
    this.#buffer = [];
    await this.#settler.giveBack(this.#inHand.all);
    await this.#background.none();
    this.#onClose(this);
  }
}

/** How the settling of an exchange ended. */
class Settling {
  readonly ended: Promise<void>;
  error: unknown;

  constructor(settling: Promise<void>, onFailure: () => void) {
    this.ended = settling.catch((error) => {
      this.error = error;
      onFailure();
    });
  }
}
