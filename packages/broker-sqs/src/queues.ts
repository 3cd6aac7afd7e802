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
  /** Known, or being asked for: once for all that want to know. */
  readonly #known = new Map<string, Promise<Queue>>();

  constructor(options: ResolvedOptions, client: SQSClient) {
    this.#options = options;
    this.#client = client;
  }

  /** @throws MachineryError where SQS was asked and has no such queue. */
  get(name: string): Promise<Queue> {
    let queue = this.#known.get(name);
    if (queue === undefined) {
      queue = this.#find(name);
      this.#known.set(name, queue);
      queue.catch(() => this.#known.delete(name)); // it may be there the next time
    }
    return queue;
  }

  async #find(name: string): Promise<Queue> {
    const url = this.#given(name) ?? (await this.#ask(name));
    return { name, url, isFifo: url.endsWith('.fifo') };
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
