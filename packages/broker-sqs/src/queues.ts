// The URLs of queues: as Go makes them, as they are given, or as SQS says.

import { GetQueueUrlCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { brokerError } from './errors.ts';
import type { ResolvedOptions } from './options.ts';

export interface Queue {
  readonly name: string;
  readonly url: string;
  readonly isFifo: boolean;
}

export class Queues {
  readonly #options: ResolvedOptions;
  readonly #client: SQSClient;
  readonly #known = new Map<string, Queue>();

  constructor(options: ResolvedOptions, client: SQSClient) {
    this.#options = options;
    this.#client = client;
  }

  /** @throws MachineryError where SQS was asked and has no such queue. */
  async get(name: string): Promise<Queue> {
    let queue = this.#known.get(name);
    if (queue === undefined) {
      const url = this.#given(name) ?? (await this.#ask(name));
      queue = { name, url, isFifo: url.endsWith('.fifo') };
      this.#known.set(name, queue);
    }
    return queue;
  }

  #given(name: string): string | undefined {
    const { url, queueUrls } = this.#options;
    if (Object.hasOwn(queueUrls, name)) return queueUrls[name];
    return url === undefined ? undefined : `${url.replace(/\/+$/, '')}/${name}`;
  }

  async #ask(name: string): Promise<string> {
    try {
      const { QueueUrl } = await this.#client.send(new GetQueueUrlCommand({ QueueName: name }));
      return QueueUrl as string;
    } catch (error) {
      throw brokerError(error, `find queue ${name}`);
    }
  }
}
