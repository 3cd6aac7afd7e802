// The keys of a queue. The list has the queue's name, as in Go; ours have the same slot of a Cluster.

import { slotTag } from '@machinery/redis-client';

export interface QueueKeys {
  readonly list: string;
  /** List: what a blocking command has moved for a worker, which takes it from there at once. */
  readonly intake: string;
  /** Hash: what workers have in hand, by `<worker>:<number>`, as batches in MessagePack (`scripts.ts`). */
  readonly inFlight: string;
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
  /** Is there until the next scan. */
  readonly scanned: string;
}

export function keysOf(queue: string): QueueKeys {
  const tag = slotTag(queue);
  return {
    list: queue,
    intake: `${tag}:intake`,
    inFlight: `${tag}:inflight`,
    workers: `${tag}:workers`,
    deliveries: `${tag}:deliveries`,
    dead: `${tag}:dead`,
    requeued: `${tag}:requeued`,
    front: `${tag}:front`,
    sequence: `${tag}:sequence`,
    scanned: `${tag}:scanned`,
  };
}
