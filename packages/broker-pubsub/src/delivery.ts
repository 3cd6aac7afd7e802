// A message in a consumer's hands, and its lease.

import type { protos } from '@google-cloud/pubsub';
import type { Delivery } from '@machinery/core';
import { ageMsOf, dueAtOf, isMarked, type PubsubMessage } from './messages.ts';

export class PubSubDelivery implements Delivery {
  readonly body: string;
  /**
   * It is marked, was counted before, or so old that somebody's lease may have run out since: the server itself does not say.
   * One that was put aside as soon as it came is what it was then.
   */
  readonly redelivered: boolean;
  /** With a dead-letter policy. */
  readonly deliveryCount?: number;
  readonly ackId: string;
  readonly message: PubsubMessage;
  /** Unix milliseconds. */
  readonly dueAtMs: number;
  /** As `performance.now`. */
  readonly receivedAt = performance.now();
  /** When its lease ends, as `performance.now`, and how long it was at first. */
  leasedUntil: number;
  leaseMs: number;
  /** A renewal did not reach the server, and none has since. */
  renewalFailed = false;
  /** The server said that the lease is over. */
  isLost = false;
  /** Core has it, and may have begun it. */
  isHandedOut = false;
  /** It is being settled. */
  isLeaving = false;

  /** @param firstMs how long after its publication it is certainly a first delivery. */
  constructor(
    { ackId, message, deliveryAttempt }: protos.google.pubsub.v1.IReceivedMessage,
    leaseMs: number,
    firstMs: number,
  ) {
    this.ackId = ackId as string;
    this.message = message ?? {};
    this.body = Buffer.from((this.message.data ?? '') as Uint8Array).toString();
    this.dueAtMs = dueAtOf(this.body, this.message);
    if (deliveryAttempt) this.deliveryCount = deliveryAttempt;
    this.redelivered = (deliveryAttempt ?? 1) > 1 || isMarked(this.message) || ageMsOf(this.message) >= firstMs;
    this.leaseMs = leaseMs;
    this.leasedUntil = this.receivedAt + leaseMs;
  }

  /** How long until it is due, in milliseconds. */
  get earlyMs(): number {
    return this.dueAtMs - Date.now();
  }

  /** For certain: the server counts from when it answered, and this process from when it read that, which may be late. */
  get isSurelyLeased(): boolean {
    return !this.isLost && performance.now() < this.leasedUntil - this.leaseMs / 2;
  }

  get isLeased(): boolean {
    return !this.isLost && performance.now() < this.leasedUntil - this.leaseMs / 10;
  }

  leased(fromMs: number, leaseMs: number): void {
    this.leaseMs = leaseMs;
    this.leasedUntil = fromMs + leaseMs;
    this.renewalFailed = false;
  }
}
