// Takes what comes out of the delay queue and sends it on its next hop. Every process that consumes does; a message that two of them
// send twice is marked, so that the second run is looked at first.

import { type Message, ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { errorText, type Logger, type Outcome } from '@machinery/core';
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

/** How long the delay queue is left alone when it had little, in milliseconds: a hop may be late by minutes. */
const restMs = 60_000;
/** How long a message that is being moved is hidden from others, in seconds. */
const hiddenSeconds = 60;

export class DelayMover {
  readonly #options: DelayMoverOptions;
  readonly #ended: Promise<void>;
  #stopped = false;
  #wake: () => void = () => {};
  #failed = false;

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
      const moved = await this.#move().catch((error) => this.#report(error));
      if (moved < maxEntries) await this.#rest();
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

  #report(error: unknown): number {
    const { logger, name } = this.#options;
    const text = `Delayed messages are not moved, queue ${name} fails: ${errorText(error)}`;
    logger[this.#failed ? 'debug' : 'warn'](text, error);
    this.#failed = true;
    return 0;
  }

  /** Answers how many messages have been moved. */
  async #move(): Promise<number> {
    const { receivingClient, client, queues, name } = this.#options;
    const delayQueue = await queues.get(name);
    const messages = await this.#receive(receivingClient, delayQueue);
    const moves = (await Promise.all(messages.map((message) => this.#moveOf(message, delayQueue)))).flat();
    const moved: Receipt[] = [];
    const to = new Map<Queue, Move[]>();
    for (const move of moves) to.set(move.queue, [...(to.get(move.queue) ?? []), move]);
    const outcomes: Outcome[] = [];
    for (const [queue, some] of to) {
      const sent = await this.#options.publisher.send(
        queue,
        some.map(({ entry }) => entry),
      );
      outcomes.push(...sent);
      moved.push(...some.filter((_, i) => sent[i]?.status === 'stored'));
    }
    const { error } = await new Receipts(client, delayQueue).delete(moved);
    if (error !== undefined) throw error;
    for (const outcome of outcomes) if (outcome.status !== 'stored') throw outcome.error;
    if (this.#failed) this.#options.logger.info(`Delayed messages of queue ${name} are moved again`);
    this.#failed = false;
    return moved.length;
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
  ): Promise<Move[]> {
    const target = MessageAttributes[queueAttribute]?.StringValue;
    if (target === undefined) {
      this.#options.logger.warn(`A message of queue ${delayQueue.name} does not say where to go and stays there`);
      return [];
    }
    const dueAtMs = Number(MessageAttributes[dueAtAttribute]?.StringValue ?? 0);
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
    const queue = isLast ? await this.#options.queues.get(target) : delayQueue;
    return [{ queue, entry, receiptHandle: ReceiptHandle as string }];
  }
}

/** A message of the delay queue, and what is sent for it. */
interface Move extends Receipt {
  readonly queue: Queue;
  readonly entry: Entry;
}
