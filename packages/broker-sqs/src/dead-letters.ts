// Where dead messages go: the queue that the redrive policy names, with the reason. Where there is none, or no right to write to
// it, they stay in their queue, hidden for longer and longer, until a policy takes them or their retention ends.

import { GetQueueAttributesCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { errorText, type Logger } from '@machinery/core';
import { type Attributes, attributeText, bytesOf, textAttribute } from './bodies.ts';
import { deadReasonAttribute, type Entry, queueAttribute } from './entries.ts';
import type { Publisher } from './publisher.ts';
import type { Queue, Queues } from './queues.ts';
import type { SqsDelivery } from './sqs-delivery.ts';

export interface DeadLettersOptions {
  readonly client: SQSClient;
  readonly queue: Queue;
  readonly queues: Queues;
  readonly publisher: Publisher;
  readonly maxMessageBytes: number;
  readonly logger: Logger;
}

/** The most characters of a reason. */
const maxReasonLength = 1_000;

export class DeadLetters {
  readonly #options: DeadLettersOptions;

  constructor(options: DeadLettersOptions) {
    this.#options = options;
  }

  /** Stores a copy with the reason. False where there is no place for it; rejects when another try may help. */
  async store(delivery: SqsDelivery, reason: string): Promise<boolean> {
    const { publisher, queue, logger } = this.#options;
    const target = await this.#target();
    if (target === undefined) return false;
    const [outcome] = await publisher.send(target, [this.#copyOf(delivery, reason, target)]);
    if (outcome?.status === 'stored') return true;
    if (outcome?.status !== 'failed' || outcome.retryable) throw outcome?.error;
    logger.warn(`A dead message of queue ${queue.name} stays there: ${errorText(outcome.error)}`, outcome.error);
    return false;
  }

  async #target(): Promise<Queue | undefined> {
    const { client, queue, queues, logger } = this.#options;
    try {
      const command = new GetQueueAttributesCommand({ QueueUrl: queue.url, AttributeNames: ['RedrivePolicy'] });
      const { RedrivePolicy } = (await client.send(command)).Attributes ?? {};
      if (RedrivePolicy === undefined) return undefined;
      const { deadLetterTargetArn } = JSON.parse(RedrivePolicy) as { deadLetterTargetArn: string };
      return await queues.get(deadLetterTargetArn.split(':').at(-1) as string);
    } catch (error) {
      logger.debug(`The dead-letter queue of ${queue.name} cannot be found: ${errorText(error)}`, error);
      return undefined;
    }
  }

  #copyOf({ body, attributes, messageId, groupId }: SqsDelivery, reason: string, { isFifo }: Queue): Entry {
    const { queue, maxMessageBytes } = this.#options;
    const more: Attributes = {
      ...attributes,
      [queueAttribute]: textAttribute(queue.name),
      [deadReasonAttribute]: textAttribute(attributeText(reason, maxReasonLength)),
    };
    // A message has ten attributes at most
    const fits = bytesOf(body, more) <= maxMessageBytes && Object.keys(more).length <= 10;
    const kept = fits ? more : attributes;
    return {
      body,
      attributes: kept,
      bytes: bytesOf(body, kept),
      what: `a dead message of queue ${queue.name}`,
      ...(isFifo && { groupId: groupId ?? messageId, deduplicationId: messageId }),
    };
  }
}
