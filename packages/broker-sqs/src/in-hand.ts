// What a consumer has in hand, running or waiting, and the heartbeat that keeps it hidden from others. Nothing is asked to
// know whose a message is: once it has been visible, it may be anybody's.

import type { Logger } from '@machinery/core';
import { hideableSeconds, type Receipts } from './receipts.ts';
import type { SqsDelivery } from './sqs-delivery.ts';

export interface InHandOptions {
  readonly receipts: Receipts<SqsDelivery>;
  readonly visibilityTimeoutSeconds: number;
  readonly logger: Logger;
  readonly queue: string;
}

export class InHand {
  readonly #options: InHandOptions;
  readonly #deliveries = new Set<SqsDelivery>();
  #timer: NodeJS.Timeout | undefined;
  #beating: Promise<void> | undefined;

  constructor(options: InHandOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#deliveries.size;
  }

  get all(): SqsDelivery[] {
    return [...this.#deliveries];
  }

  add(delivery: SqsDelivery): void {
    this.#deliveries.add(delivery);
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(() => {
      this.#beating ??= this.#beat().finally(() => {
        this.#beating = undefined;
      });
    }, this.#hiddenMs / 6);
    this.#timer.unref();
  }

  /** False where it was not there. */
  remove(delivery: SqsDelivery): boolean {
    const was = this.#deliveries.delete(delivery);
    if (this.#deliveries.size === 0) this.#stop();
    return was;
  }

  has(delivery: SqsDelivery): boolean {
    return this.#deliveries.has(delivery);
  }

  /** Whether it is here, and nobody else can have it. */
  owns(delivery: SqsDelivery): boolean {
    return this.#deliveries.has(delivery) && performance.now() < delivery.hiddenUntil;
  }

  get #hiddenMs(): number {
    return this.#options.visibilityTimeoutSeconds * 1_000;
  }

  /** Renews what was taken or renewed a third of the timeout ago, so that half of it is never reached, as far as SQS lets it. */
  async #beat(): Promise<void> {
    const { receipts, logger, queue } = this.#options;
    const now = performance.now();
    const until = (one: SqsDelivery) => now + Math.min(this.#hiddenMs, hideableSeconds(one) * 1_000);
    const due = this.all.filter(
      (one) =>
        !one.isLeaving &&
        now - one.renewedAt >= this.#hiddenMs / 3 &&
        now < one.hiddenUntil &&
        one.hiddenUntil < until(one),
    );
    if (due.length === 0) return;
    const { done, gone, error } = await receipts.hide(due, () => this.#options.visibilityTimeoutSeconds);
    for (const delivery of done) {
      delivery.renewedAt = now;
      delivery.hiddenUntil = until(delivery);
    }
    for (const delivery of gone) delivery.hiddenUntil = 0;
    if (error !== undefined)
      logger.debug(`Messages of queue ${queue} could not be renewed yet: ${error.message}`, error);
  }

  /** Resolves when no renewal is under way: one that arrived late would hide again what is given back. */
  async quiet(): Promise<void> {
    await this.#beating;
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
