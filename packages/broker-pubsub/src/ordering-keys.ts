// The order within ordering keys: Pub/Sub hands out several messages of a key at once, and leaves it to its subscribers to work on them one
// after the other. Of each key one is handed out, and the next when that is acknowledged.

import type { PubSubDelivery } from './delivery.ts';

export class OrderingKeys {
  /** What waits, for each key of which one is handed out, or is not due yet. */
  readonly #waiting = new Map<string, PubSubDelivery[]>();
  #size = 0;

  /** How many wait. */
  get size(): number {
    return this.#size;
  }

  /** Whether it comes now. */
  admit(delivery: PubSubDelivery): boolean {
    const { orderingKey } = delivery.message;
    if (!orderingKey) return true;
    const waiting = this.#waiting.get(orderingKey);
    if (waiting === undefined) {
      this.#waiting.set(orderingKey, []);
      return true;
    }
    waiting.push(delivery);
    this.#size++;
    return false;
  }

  /** The next of the key of one that is acknowledged. */
  after({ message: { orderingKey } }: PubSubDelivery): PubSubDelivery | undefined {
    if (!orderingKey) return undefined;
    const next = this.#waiting.get(orderingKey)?.shift();
    if (next === undefined) this.#waiting.delete(orderingKey);
    else this.#size--;
    return next;
  }

  /** All that waits for one that will be delivered again: Pub/Sub delivers them again, too. */
  behind({ message: { orderingKey } }: PubSubDelivery): PubSubDelivery[] {
    if (!orderingKey) return [];
    const waiting = this.#waiting.get(orderingKey) ?? [];
    this.#waiting.delete(orderingKey);
    this.#size -= waiting.length;
    return waiting;
  }
}
