// Long polls of one queue. One waits while the queue is empty; while receives come back full, more are under way at once. They are never
// cut: what SQS hands to a connection that is gone stays hidden for the whole visibility timeout.

import { type Message, ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { brokerError } from './errors.ts';
import { maxEntries } from './publisher.ts';
import type { Queue } from './queues.ts';

export interface ReceiverOptions {
  readonly client: SQSClient;
  readonly queue: Queue;
  readonly visibilityTimeoutSeconds: number;
  readonly waitTimeSeconds: number;
  /** How many receives may be under way at once. */
  readonly maxReceives: number;
  readonly onMessages: (messages: readonly Message[]) => void;
  readonly onError: (error: Error) => void;
}

export class Receiver {
  readonly #options: ReceiverOptions;
  readonly #startedAt = performance.now();
  readonly #underWay = new Set<Promise<void>>();
  /** How many messages they may bring. */
  #asked = 0;
  /** How many may be under way as long as the queue is as full as it was. */
  #parallel = 1;

  constructor(options: ReceiverOptions) {
    this.#options = options;
  }

  /** Receives until as many messages are asked for as there is room, those that were asked for before included. */
  receive(room: number): void {
    while (this.#asked < room && this.#underWay.size < this.#parallel) {
      const count = Math.min(maxEntries, room - this.#asked);
      this.#asked += count;
      const receiving = this.#receive(count).finally(() => this.#underWay.delete(receiving));
      this.#underWay.add(receiving);
    }
  }

  /** Resolves when nothing is under way. */
  async ended(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  async #receive(count: number): Promise<void> {
    const { client, queue, visibilityTimeoutSeconds, onMessages, onError } = this.#options;
    try {
      const { Messages = [] } = await client.send(
        new ReceiveMessageCommand({
          QueueUrl: queue.url,
          MaxNumberOfMessages: count,
          WaitTimeSeconds: this.#waitSeconds(),
          VisibilityTimeout: visibilityTimeoutSeconds,
          MessageSystemAttributeNames: [
            'ApproximateReceiveCount',
            ...(queue.isFifo ? ['MessageGroupId' as const] : []),
          ],
          MessageAttributeNames: ['All'],
        }),
      );
      this.#asked -= count;
      this.#adapt(count, Messages.length);
      onMessages(Messages);
    } catch (error) {
      this.#asked -= count;
      this.#parallel = 1;
      onError(brokerError(error, `receive from queue ${queue.name}`));
    }
  }

  /** A consumer that is closed waits for its receives: one that has not lived long, of a test say, waits for short ones. */
  #waitSeconds(): number {
    const livedSeconds = Math.ceil((performance.now() - this.#startedAt) / 1_000);
    return Math.min(this.#options.waitTimeSeconds, Math.max(1, livedSeconds));
  }

  #adapt(asked: number, got: number): void {
    if (got === 0) this.#parallel = 1;
    else if (got === asked) this.#parallel = Math.min(this.#options.maxReceives, this.#parallel * 2);
    else this.#parallel = Math.max(1, this.#parallel - 1);
  }
}
