// Keeps the leases of all that a consumer has: each is renewed when half of it has passed, those of one length with one call, until
// the message is settled or was extended for as long as it may be.

import { errorText, type Logger } from '@machinery/core';
import type { Acks, Answer } from './acks.ts';
import type { PubSubDelivery } from './delivery.ts';
import { maxLeaseSeconds, type PubSubBrokerOptions } from './options.ts';
import type { Source } from './resources.ts';

/** What is due later than one of these is leased for so long, in seconds: a crash costs nothing then, and calls are fewer. */
const longLeasesSeconds = [maxLeaseSeconds, 300, 120];

export class Leases {
  readonly maxExtensionMs: number;
  /** No lease of this project's workers runs out sooner. */
  readonly shortestMs: number;
  readonly #acks: Acks;
  readonly #logger: Logger;
  readonly #leaseSeconds: number;
  readonly #tickMs: number;
  readonly #all = new Set<PubSubDelivery>();
  #timer: NodeJS.Timeout | undefined;

  constructor(acks: Acks, source: Source, options: PubSubBrokerOptions, logger: Logger) {
    const { leaseSeconds = 60, maxExtensionMs = 3_600_000 } = options;
    this.#acks = acks;
    this.#logger = logger;
    this.#leaseSeconds = leaseSeconds;
    this.maxExtensionMs = maxExtensionMs;
    this.shortestMs = Math.min(leaseSeconds, source.ackDeadlineSeconds) * 1_000;
    this.#tickMs = this.shortestMs / 8;
  }

  add(delivery: PubSubDelivery): void {
    this.#all.add(delivery);
    this.#tickLater();
  }

  has(delivery: PubSubDelivery): boolean {
    return this.#all.has(delivery);
  }

  /** False when it was not here. */
  delete(delivery: PubSubDelivery): boolean {
    return this.#all.delete(delivery);
  }

  /** What is not settled. */
  all(): PubSubDelivery[] {
    return [...this.#all];
  }

  /** Ends the renewals. */
  end(): void {
    this.#all.clear();
    clearTimeout(this.#timer);
  }

  /** Renews one lease now. Answers false when the server refuses, and rejects when it cannot be asked. */
  async renewNow(delivery: PubSubDelivery): Promise<boolean> {
    const { done, error } = await this.#renew([delivery], this.#leaseSeconds);
    if (error !== undefined) throw error;
    return done.length > 0;
  }

  #tickLater(): void {
    if (this.#timer !== undefined || this.#all.size === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#tick().then(() => this.#tickLater());
    }, this.#tickMs).unref();
  }

  /** Renewals that fail are tried again with the next tick. */
  async #tick(): Promise<void> {
    const now = performance.now();
    const bySeconds = new Map<number, PubSubDelivery[]>();
    for (const delivery of this.#all) {
      const { leasedUntil, leaseMs, isLost, isLeaving } = delivery;
      if (isLost || isLeaving || leasedUntil - now > leaseMs / 2 || this.#isExtended(delivery, now)) continue;
      const seconds = this.#secondsFor(delivery);
      bySeconds.set(seconds, [...(bySeconds.get(seconds) ?? []), delivery]);
    }
    await Promise.all([...bySeconds].map(([seconds, deliveries]) => this.#renew(deliveries, seconds)));
  }

  #secondsFor({ earlyMs }: PubSubDelivery): number {
    const lease = this.#leaseSeconds;
    return longLeasesSeconds.find((seconds) => seconds > lease && earlyMs > seconds * 1_000) ?? lease;
  }

  /** As long as it may be. */
  #isExtended({ receivedAt, leasedUntil, leaseMs }: PubSubDelivery, now: number): boolean {
    if (now - receivedAt < this.maxExtensionMs) return false;
    if (leasedUntil - now > leaseMs / 2 - this.#tickMs)
      this.#logger.warn(
        `A message has been in hand for ${this.maxExtensionMs} ms, \`maxExtensionMs\`: its lease is extended no more, and it will be delivered again`,
      );
    return true;
  }

  async #renew(deliveries: readonly PubSubDelivery[], seconds: number): Promise<Answer> {
    const fromMs = performance.now();
    const answer = await this.#acks.lease(deliveries, seconds);
    for (const delivery of answer.done) delivery.leased(fromMs, seconds * 1_000);
    for (const delivery of answer.lost) delivery.isLost = true;
    for (const delivery of answer.failed) delivery.renewalFailed = true;
    if (answer.error !== undefined)
      this.#logger.debug(`Leases could not be renewed: ${errorText(answer.error)}`, answer.error);
    return answer;
  }
}
