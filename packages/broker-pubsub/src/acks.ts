// Acknowledges and extends, many messages with a call. What the server refuses by itself, of a subscription with exactly-once
// delivery, is told apart from calls that failed.

import type { Clients } from './clients.ts';
import type { PubSubDelivery } from './delivery.ts';
import { refusedAcks } from './errors.ts';

/** Of a call: ack IDs are some 200 bytes, and a request has 512 KiB. */
const maxAckIds = 1_000;

/** What became of a call; a delivery is in one of these. */
export interface Answer {
  readonly done: readonly PubSubDelivery[];
  /** Their leases are over: others may have them. */
  readonly lost: readonly PubSubDelivery[];
  /** To be tried again. */
  readonly failed: readonly PubSubDelivery[];
  /** Why they failed. */
  readonly error?: Error;
}

export class Acks {
  readonly #clients: Clients;
  readonly #subscription: string;

  constructor(clients: Clients, subscription: string) {
    this.#clients = clients;
    this.#subscription = subscription;
  }

  ack(deliveries: readonly PubSubDelivery[]): Promise<Answer> {
    const subscription = this.#subscription;
    return inCalls(deliveries, (ackIds) =>
      this.#clients.call(`acknowledge messages of ${subscription}`, ({ subscriber }, options) =>
        subscriber.acknowledge({ subscription, ackIds }, options),
      ),
    );
  }

  /** Leases them for so many seconds from now; for 0, or when they have passed, the server delivers them again. */
  lease(deliveries: readonly PubSubDelivery[], ackDeadlineSeconds: number): Promise<Answer> {
    const subscription = this.#subscription;
    return inCalls(deliveries, (ackIds) =>
      this.#clients.call(`lease messages of ${subscription}`, ({ subscriber }, options) =>
        subscriber.modifyAckDeadline({ subscription, ackIds, ackDeadlineSeconds }, options),
      ),
    );
  }
}

async function inCalls(
  deliveries: readonly PubSubDelivery[],
  call: (ackIds: string[]) => Promise<unknown>,
): Promise<Answer> {
  const answers: Promise<Answer>[] = [];
  for (let from = 0; from < deliveries.length; from += maxAckIds)
    answers.push(inCall(deliveries.slice(from, from + maxAckIds), call));
  const all = await Promise.all(answers);
  const error = all.find((answer) => answer.error !== undefined)?.error;
  return {
    done: all.flatMap(({ done }) => done),
    lost: all.flatMap(({ lost }) => lost),
    failed: all.flatMap(({ failed }) => failed),
    ...(error !== undefined && { error }),
  };
}

async function inCall(
  deliveries: readonly PubSubDelivery[],
  call: (ackIds: string[]) => Promise<unknown>,
): Promise<Answer> {
  try {
    await call(deliveries.map(({ ackId }) => ackId));
    return { done: deliveries, lost: [], failed: [] };
  } catch (error) {
    const refused = refusedAcks(error);
    if (refused === undefined) return { done: [], lost: [], failed: deliveries, error: error as Error };
    const lost = deliveries.filter(({ ackId }) => refused.lost.has(ackId));
    const failed = deliveries.filter(({ ackId }) => refused.passing.has(ackId));
    const done = deliveries.filter(({ ackId }) => !refused.lost.has(ackId) && !refused.passing.has(ackId));
    return { done, lost, failed, ...(failed.length > 0 && { error: error as Error }) };
  }
}
