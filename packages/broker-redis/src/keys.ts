// The keys of a queue. The list has the queue's name, as in Go; ours have the same slot of a Cluster.

import { slotTag } from '@machinery/redis-client';

export interface QueueKeys {
  readonly list: string;
  /** Sorted set: when each worker's lease ends, in Unix milliseconds of the server. */
  readonly workers: string;
  /** Hash: how often a message was lost with its worker, by the SHA-1 of its body. */
  readonly deliveries: string;
  readonly dead: string;
  /** Sorted set of what was put back with a delay. */
  readonly requeued: string;
  /** Sorted set: the places of messages that were put back to the front, by their bodies. */
  readonly front: string;
  /** Counts places. */
  readonly sequence: string;
  /** What the keys of each worker begin with. */
  readonly inFlight: string;
  readonly intake: string;
}

export function keysOf(queue: string): QueueKeys {
  const tag = slotTag(queue);
  return {
    list: queue,
    workers: `${tag}:workers`,
    deliveries: `${tag}:deliveries`,
    dead: `${tag}:dead`,
    requeued: `${tag}:requeued`,
    front: `${tag}:front`,
    sequence: `${tag}:sequence`,
    inFlight: `${tag}:inflight:`,
    intake: `${tag}:intake:`,
  };
}
