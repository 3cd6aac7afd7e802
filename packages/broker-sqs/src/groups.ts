// The order within the groups of a FIFO queue: SQS hands out several messages of a group at once, and none more until all of these are
// settled. Of each group one is handed out, and the next when that is deleted.

import type { SqsDelivery } from './sqs-delivery.ts';

export class Groups {
  /** What waits, for each group of which one is handed out. */
  readonly #waiting = new Map<string, SqsDelivery[]>();

  /** Whether it may be handed out now. */
  admit(delivery: SqsDelivery): boolean {
    const { groupId } = delivery;
    if (groupId === undefined) return true;
    const waiting = this.#waiting.get(groupId);
    if (waiting === undefined) this.#waiting.set(groupId, []);
    else waiting.push(delivery);
    return waiting === undefined;
  }

  /** The next of the group of one that is deleted. */
  after({ groupId }: SqsDelivery): SqsDelivery | undefined {
    if (groupId === undefined) return undefined;
    const next = this.#waiting.get(groupId)?.shift();
    if (next === undefined) this.#waiting.delete(groupId);
    return next;
  }

  /** All that waits for one that will be delivered again: it must come after it. */
  behind({ groupId }: SqsDelivery): SqsDelivery[] {
    if (groupId === undefined) return [];
    const waiting = this.#waiting.get(groupId) ?? [];
    this.#waiting.delete(groupId);
    return waiting;
  }
}
