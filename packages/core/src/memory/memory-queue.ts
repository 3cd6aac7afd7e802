// One queue of the memory broker: what waits, who waits for it, and what is dead.
// Invariant: the messages are always in the order of `sequence`. Only the front is ever taken, so what a consumer holds
// is older than all that waits, and giving it back is a merge at the front, whoever gives back first.

import Denque from 'denque';
import type { Delivery } from '../broker.ts';
import { inMicrotask } from '../microtask.ts';

/** A message that no worker could use. */
export interface DeadMessage {
  readonly body: string;
  readonly reason: string;
  readonly at: Date;
}

/** Someone whose exchange waits for messages. */
export interface Waiter {
  /** Called when there is a message. Takes, and stops waiting. */
  serve(): void;
}

/** One handing out of a message. The next one is a new object, so that settling the old one late does nothing. */
export class MemoryDelivery implements Delivery {
  readonly body: string;
  readonly redelivered: boolean;
  readonly deliveryCount: number;
  /** The place in the queue. */
  sequence = 0;

  constructor(body: string, redelivered: boolean, deliveryCount: number) {
    this.body = body;
    this.redelivered = redelivered;
    this.deliveryCount = deliveryCount;
  }

  /** The same message, to be handed out again in its old place. */
  again(redelivered: boolean, deliveryCount: number): MemoryDelivery {
    const next = new MemoryDelivery(this.body, redelivered, deliveryCount);
    next.sequence = this.sequence;
    return next;
  }
}

export class MemoryQueue {
  readonly messages = new Denque<MemoryDelivery>();
  readonly dead = new Denque<DeadMessage>();
  /** How many messages of this queue are delayed. */
  delayed = 0;
  /** Whose exchange waits, in the order in which they came. */
  readonly #waiting = new Set<Waiter>();
  readonly #maxDead: number;
  #nextSequence = 0;
  #waking = false;

  constructor(maxDead: number) {
    this.#maxDead = maxDead;
  }

  /** Whether an exchange may take now: there is something, and nobody came before. */
  get ready(): boolean {
    return this.messages.length > 0 && this.#waiting.size === 0;
  }

  add(message: MemoryDelivery): void {
    message.sequence = this.#nextSequence++;
    this.messages.push(message);
    this.#wake();
  }

  /** Puts messages that were taken back to their old places. */
  giveBack(returned: MemoryDelivery[]): void {
    const newest = returned.reduce((max, { sequence }) => Math.max(max, sequence), -1);
    for (let front = this.messages.peekFront(); front !== undefined && front.sequence < newest; ) {
      returned.push(front);
      this.messages.shift();
      front = this.messages.peekFront();
    }
    returned.sort((a, b) => b.sequence - a.sequence);
    for (const message of returned) this.messages.unshift(message);
    this.#wake();
  }

  /** The bodies of what waits, in order, at most `limit`. */
  bodies(limit: number): string[] {
    const bodies: string[] = [];
    for (let i = 0; i < this.messages.length && i < limit; i++)
      bodies.push((this.messages.peekAt(i) as MemoryDelivery).body);
    return bodies;
  }

  bury(body: string, reason: string): void {
    this.dead.push({ body, reason, at: new Date() });
    if (this.dead.length > this.#maxDead) this.dead.shift();
  }

  wait(waiter: Waiter): void {
    this.#waiting.add(waiter);
  }

  stopWaiting(waiter: Waiter): void {
    this.#waiting.delete(waiter);
  }

  #wake(): void {
    if (this.#waking || this.#waiting.size === 0) return;
    this.#waking = true;
    // Not at once: what is published in one tick is handed out together.
    inMicrotask(this.#serve);
  }

  readonly #serve = (): void => {
    this.#waking = false;
    for (const waiter of this.#waiting) {
      if (this.messages.length === 0) return;
      waiter.serve();
    }
  };
}
