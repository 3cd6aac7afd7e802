// Takes what comes out of the delay queue and sends it on its next hop. Every process that consumes does; a message that two of them
// send twice is marked, so that the second run is looked at first.

import { type Message, ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { errorText, type Logger } from '@machinery/core';
import { type Attributes, bytesOf, textAttribute } from './bodies.ts';
import { nextHop } from './delays.ts';
import { dueAtAttribute, type Entry, queueAttribute, redeliveredAttribute } from './entries.ts';
import { brokerError } from './errors.ts';
import { maxEntries, type Publisher } from './publisher.ts';
import type { Queue, Queues } from './queues.ts';
import { type Receipt, Receipts } from './receipts.ts';

export interface DelayMoverOptions {
  readonly name: string;
  readonly client: SQSClient;
  readonly receivingClient: SQSClient;
  readonly queues: Queues;
  readonly publisher: Publisher;
  readonly logger: Logger;
}

/** How long the delay queue is left alone when it had nothing, in milliseconds: a hop may be late by minutes. */
const restMs = 60_000;
/** How long a message that is being moved is hidden from others, in seconds. */
const hiddenSeconds = 60;

export class DelayMover {
  readonly #options: DelayMoverOptions;
  readonly #ended: Promise<void>;
  #stopped = false;
  #wake: () => void = () => {};
  /** Queues that cannot be used now, for one warning each. */
  readonly #failing = new Set<string>();

  constructor(options: DelayMoverOptions) {
    this.#options = options;
    this.#ended = this.#run();
  }

  /** Resolves when what is under way has ended. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    return this.#ended;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const moved = await this.#move().catch((error) => {
        this.#report(this.#options.name, error);
        return 0;
      });
      if (moved === 0) await this.#rest();
    }
  }

  async #rest(): Promise<void> {
    if (this.#stopped) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, restMs);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #report(queue: string, error: unknown): void {
    const level = this.#failing.has(queue) ? 'debug' : 'warn';
    this.#options.logger[level](`Delayed messages are not moved, queue ${queue} fails: ${errorText(error)}`, error);
    this.#failing.add(queue);
  }

  #recovered(queue: string): void {
    if (this.#failing.delete(queue))
      this.#options.logger.info(`Delayed messages are moved again, queue ${queue} works`);
  }

  /** Answers how many messages have been moved. One that cannot be is in nobody's way. */
  async #move(): Promise<number> {
    const { receivingClient, client, queues, name } = this.#options;
    const delayQueue = await queues.get(name);
    const messages = await this.#receive(receivingClient, delayQueue);
    const to = new Map<Queue, Move[]>();
    for (const move of await Promise.all(messages.map((message) => this.#moveOf(message, delayQueue))))
      if (move !== undefined) to.set(move.queue, [...(to.get(move.queue) ?? []), move]);
    const sent = await Promise.all([...to].map(([queue, moves]) => this.#send(queue, moves)));
    const { done, error } = await new Receipts(client, delayQueue).delete(sent.flat());
    if (error !== undefined) throw error;
    this.#recovered(name);
    return done.length;
  }

  /** Answers those that are stored in the queue. */
  async #send(queue: Queue, moves: readonly Move[]): Promise<Move[]> {
    const outcomes = await this.#options.publisher.send(
      queue,
      moves.map(({ entry }) => entry),
    );
    for (const outcome of outcomes) {
      if (outcome.status === 'stored') this.#recovered(queue.name);
      else this.#report(queue.name, outcome.error);
    }
    return moves.filter((_, i) => outcomes[i]?.status === 'stored');
  }

  async #receive(client: SQSClient, { url, name }: Queue): Promise<Message[]> {
    try {
      const command = new ReceiveMessageCommand({
        QueueUrl: url,
        MaxNumberOfMessages: maxEntries,
        WaitTimeSeconds: 1, // without, only some of the servers are asked
        VisibilityTimeout: hiddenSeconds,
        MessageSystemAttributeNames: ['ApproximateReceiveCount'],
        MessageAttributeNames: ['All'],
      });
      return (await client.send(command)).Messages ?? [];
    } catch (error) {
      throw brokerError(error, `receive from queue ${name}`);
    }
  }

  async #moveOf(
    { Body = '', ReceiptHandle, Attributes, MessageAttributes = {} }: Message,
    delayQueue: Queue,
  ): Promise<Move | undefined> {
    const target = MessageAttributes[queueAttribute]?.StringValue;
    if (target === undefined) {
      this.#options.logger.warn(`A message of queue ${delayQueue.name} does not say where to go and stays there`);
      return undefined;
    }
    const dueAtMs = Number(MessageAttributes[dueAtAttribute]?.StringValue) || 0;
    const { to, delaySeconds } = nextHop(dueAtMs, Date.now());
    const isLast = to === 'its queue';
    const again = Number(Attributes?.ApproximateReceiveCount ?? 1) > 1;
    const { [queueAttribute]: _, ...others } = MessageAttributes;
    const attributes: Attributes = {
      ...(isLast ? others : MessageAttributes),
      ...(again && { [redeliveredAttribute]: textAttribute('1') }),
    };
    const entry = {
      body: Body,
      attributes,
      bytes: bytesOf(Body, attributes),
      delaySeconds,
      what: `a delayed message for queue ${target}`,
    };
    const queue = isLast ? await this.#find(target) : delayQueue;
    return queue && { queue, entry, receiptHandle: ReceiptHandle as string, receivedAt: performance.now() };
  }

  async #find(target: string): Promise<Queue | undefined> {
    try {
      return await this.#options.queues.get(target);
    } catch (error) {
      this.#report(target, error);
      return undefined;
    }
  }
}

/** A message of the delay queue, and what is sent for it. */
interface Move extends Receipt {
  readonly queue: Queue;
  readonly entry: Entry;
}
