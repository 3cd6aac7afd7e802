// What is done with messages that were received: deleted, or hidden for so long. Ten a request; each entry's own failure is looked at.

import {
  type BatchResultErrorEntry,
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { brokerError, entryError, isGone } from './errors.ts';
import { maxEntries } from './publisher.ts';
import type { Queue } from './queues.ts';

/** A received message, or what is known of one. */
export interface Receipt {
  readonly receiptHandle: string;
  /** By performance.now(). */
  readonly receivedAt: number;
}

export interface Settled<R> {
  readonly done: readonly R[];
  /** Deleted, or with another consumer: nothing can be done with it any more. */
  readonly gone: readonly R[];
  /** Why the others were not done: trying again may help. */
  readonly error: Error | undefined;
}

/**
 * The longest that a message can be hidden, in seconds from when it was received: to ask for more is refused. A minute less than the service's limit, which
 * counts from the begin of the request that received it.
 */
const maxHiddenSeconds = 43_200 - 60;

/** The longest that a message can be hidden from now on, in seconds. */
export function hideableSeconds({ receivedAt }: Receipt): number {
  return Math.max(0, Math.floor(maxHiddenSeconds - (performance.now() - receivedAt) / 1_000));
}

export class Receipts<R extends Receipt> {
  readonly #client: SQSClient;
  readonly #queue: Queue;

  constructor(client: SQSClient, queue: Queue) {
    this.#client = client;
    this.#queue = queue;
  }

  /** Never rejects. */
  delete(receipts: readonly R[]): Promise<Settled<R>> {
    return this.#inBatches(receipts, 'delete messages', (batch) =>
      this.#client.send(
        new DeleteMessageBatchCommand({
          QueueUrl: this.#queue.url,
          Entries: batch.map(({ receiptHandle }, i) => ({ Id: String(i), ReceiptHandle: receiptHandle })),
        }),
      ),
    );
  }

  /** Hides them for so many seconds from now, or for as long as SQS lets them be hidden; 0 for none. Never rejects. */
  hide(receipts: readonly R[], seconds: (receipt: R) => number): Promise<Settled<R>> {
    return this.#inBatches(receipts, 'change the visibility of messages', (batch) =>
      this.#client.send(
        new ChangeMessageVisibilityBatchCommand({
          QueueUrl: this.#queue.url,
          Entries: batch.map((receipt, i) => ({
            Id: String(i),
            ReceiptHandle: receipt.receiptHandle,
            VisibilityTimeout: Math.min(seconds(receipt), hideableSeconds(receipt)),
          })),
        }),
      ),
    );
  }

  async #inBatches(
    receipts: readonly R[],
    what: string,
    send: (batch: readonly R[]) => Promise<{ Failed?: BatchResultErrorEntry[] | undefined }>,
  ): Promise<Settled<R>> {
    const [done, gone, errors]: [R[], R[], Error[]] = [[], [], []];
    const one = async (batch: readonly R[]) => {
      try {
        const { Failed = [] } = await send(batch);
        const failures = new Map(Failed.map((failure) => [failure.Id, failure]));
        for (const [i, receipt] of batch.entries()) {
          const failure = failures.get(String(i));
          if (failure === undefined) done.push(receipt);
          else if (isGone(failure)) gone.push(receipt);
          else errors.push(entryError(failure, `${what} of queue ${this.#queue.name}`));
        }
      } catch (error) {
        errors.push(brokerError(error, `${what} of queue ${this.#queue.name}`));
      }
    };
    const batches: Promise<void>[] = [];
    for (let from = 0; from < receipts.length; from += maxEntries)
      batches.push(one(receipts.slice(from, from + maxEntries)));
    await Promise.all(batches);
    return { done, gone, error: errors[0] };
  }
}
