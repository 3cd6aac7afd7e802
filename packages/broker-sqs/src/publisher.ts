// Sends messages, ten a request and no more bytes than a request may have, and looks at the outcome of each. Requests to
// standard queues are under way together; those to a FIFO queue follow each other, as its order is that of arrival.

import { SendMessageBatchCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { errorText, failed, MachineryError, type Outcome, stored } from '@machinery/core';
import type { Entry } from './entries.ts';
import { isTooLong, outcomeOf, outcomeOfEntry } from './errors.ts';
import type { Queue } from './queues.ts';

/** The service's limit for a request. */
export const maxEntries = 10;
/** How many requests of one call are under way at once: settling needs sockets, too. */
const maxParallel = 20;

export class Publisher {
  readonly #client: SQSClient;
  readonly #maxBytes: number;
  /** The end of what is being sent to each FIFO queue. */
  readonly #ends = new Map<string, Promise<unknown>>();

  constructor(client: SQSClient, maxBytes: number) {
    this.#client = client;
    this.#maxBytes = maxBytes;
  }

  /** One outcome for each entry, in their order. Never rejects. */
  async send(queue: Queue, entries: readonly Entry[]): Promise<Outcome[]> {
    if (queue.isFifo) return this.#inTurn(queue.url, () => this.#sendInOrder(queue, entries));
    const batches = this.#batches(entries);
    const outcomes: Outcome[][] = [];
    const next = batches.entries();
    const lane = async () => {
      for (const [i, batch] of next) outcomes[i] = await this.#sendBatch(queue, batch);
    };
    await Promise.all(Array.from({ length: Math.min(maxParallel, batches.length) }, lane));
    return outcomes.flat();
  }

  async #inTurn<T>(url: string, send: () => Promise<T>): Promise<T> {
    const sending = Promise.resolve(this.#ends.get(url)).then(send);
    this.#ends.set(url, sending);
    try {
      return await sending;
    } finally {
      if (this.#ends.get(url) === sending) this.#ends.delete(url);
    }
  }

  /** What comes after one of its group that may be tried again is not sent: it would overtake that. */
  async #sendInOrder(queue: Queue, entries: readonly Entry[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    const interrupted = new Set<string | undefined>();
    for (const batch of this.#batches(entries)) {
      const sendable = batch.filter(({ groupId }) => !interrupted.has(groupId));
      const sent = sendable.length === 0 ? [] : await this.#sendBatch(queue, sendable);
      for (const entry of batch) {
        const outcome =
          interrupted.has(entry.groupId) && !sendable.includes(entry) ? overtaking(entry) : (sent.shift() as Outcome);
        outcomes.push(outcome);
      }
      for (const [i, { groupId }] of batch.entries())
        if (mayBeTriedAgain(outcomes[outcomes.length - batch.length + i] as Outcome)) interrupted.add(groupId);
    }
    return outcomes;
  }

  #batches(entries: readonly Entry[]): Entry[][] {
    const batches: Entry[][] = [];
    let bytes = 0;
    for (const entry of entries) {
      const batch = batches.at(-1);
      bytes += entry.bytes;
      if (batch !== undefined && batch.length < maxEntries && bytes <= this.#maxBytes) batch.push(entry);
      else {
        batches.push([entry]);
        bytes = entry.bytes;
      }
    }
    return batches;
  }

  async #sendBatch(queue: Queue, batch: readonly Entry[]): Promise<Outcome[]> {
    const [first] = batch as [Entry];
    if (first.bytes > this.#maxBytes) return [tooLarge(first, `SQS takes ${this.#maxBytes}`)]; // alone in its batch
    try {
      const { Successful = [], Failed = [] } = await this.#client.send(
        new SendMessageBatchCommand({ QueueUrl: queue.url, Entries: batch.map(requestEntry) }),
      );
      const successful = new Set(Successful.map(({ Id }) => Id));
      const failures = new Map(Failed.map((failure) => [failure.Id, failure]));
      return batch.map(({ what }, i) => {
        if (successful.has(String(i))) return stored;
        const failure = failures.get(String(i));
        return failure === undefined ? unanswered(what) : outcomeOfEntry(failure, `store ${what}`);
      });
    } catch (error) {
      if (isTooLong(error) && batch.length > 1) {
        const half = Math.ceil(batch.length / 2);
        return [
          ...(await this.#sendBatch(queue, batch.slice(0, half))),
          ...(await this.#sendBatch(queue, batch.slice(half))),
        ];
      }
      if (isTooLong(error)) return [tooLarge(first, `queue ${queue.name} refuses it: ${errorText(error)}`, error)];
      return batch.map(({ what }) => outcomeOf(error, `store ${what} in queue ${queue.name}`));
    }
  }
}

function requestEntry({ body, attributes, delaySeconds, groupId, deduplicationId }: Entry, i: number) {
  return {
    Id: String(i),
    MessageBody: body,
    ...(Object.keys(attributes).length > 0 && { MessageAttributes: attributes }),
    // Without it, a queue's own delay holds, if it has one.
    ...(delaySeconds !== undefined && { DelaySeconds: delaySeconds }),
    ...(groupId !== undefined && { MessageGroupId: groupId }),
    ...(deduplicationId !== undefined && { MessageDeduplicationId: deduplicationId }),
  };
}

function mayBeTriedAgain(outcome: Outcome): boolean {
  return outcome.status === 'unknown' || (outcome.status === 'failed' && outcome.retryable);
}

function overtaking({ what, groupId }: Entry): Outcome {
  const text = `${what} was not sent: a message before it in group ${groupId} was not stored`;
  return failed(new MachineryError('ERR_MACHINERY_BROKER_UNAVAILABLE', text), true);
}

function tooLarge({ what, bytes }: Entry, why: string, cause?: unknown): Outcome {
  const text = `${what} has ${bytes} bytes with its attributes, ${why}`;
  return failed(new MachineryError('ERR_MACHINERY_MESSAGE_TOO_LARGE', text, { cause }), false);
}

function unanswered(what: string): Outcome {
  return {
    status: 'unknown',
    error: new MachineryError('ERR_MACHINERY_BROKER_FAILED', `SQS did not answer for ${what}`),
  };
}
