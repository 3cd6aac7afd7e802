// The limit of one Node process on amqplib: persistent messages, each confirmed, and a consumer that acks, in both cases as many in
// flight as the cell says. The messages are those of Machinery, or the server would have less to do. No results are kept: what
// ran is answered.

import { randomUUID } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { defineTask, encodeSignature, int64 } from '@machinery/core';
import { type ChannelModel, type ConfirmChannel, connect, type Message } from 'amqplib';
import { type Add, type System, serve } from './serve.ts';
import { versions } from './versions.ts';

const add = defineTask('add', { args: [int64, int64], returns: int64 });

interface Task {
  readonly UUID: string;
  readonly Args: readonly { readonly Value: number }[];
}

interface Config {
  readonly amqp: string;
  readonly queue: string;
}

class RawAmqp implements System<string> {
  readonly versions = versions('amqplib');
  readonly #model: ChannelModel;
  readonly #confirmed: ConfirmChannel;
  readonly #queue: string;
  readonly #results = new Map<string, number>();

  constructor(model: ChannelModel, confirmed: ConfirmChannel, queue: string) {
    this.#model = model;
    this.#confirmed = confirmed;
    this.#queue = queue;
  }

  static async open({ amqp, queue }: Config): Promise<RawAmqp> {
    const model = await connect(amqp, { noDelay: true });
    const confirmed = await model.createConfirmChannel();
    await confirmed.assertQueue(queue);
    return new RawAmqp(model, confirmed, queue);
  }

  send(a: number): Promise<string> {
    const uuid = `task_${randomUUID()}`;
    const body = Buffer.from(encodeSignature({ ...add(a, 1), uuid, routingKey: this.#queue }));
    const options = { persistent: true, contentType: 'application/json' };
    return new Promise((resolve, reject) => {
      const done = (error: unknown) => (error === null ? resolve(uuid) : reject(error));
      this.#confirmed.sendToQueue(this.#queue, body, options, done);
    });
  }

  sendBulk(a: number, count: number) {
    return Promise.all(Array.from({ length: count }, (_, i) => this.send(a + i)));
  }

  async stored(uuids: readonly string[]) {
    return uuids.map((uuid) => this.#results.get(uuid));
  }

  /** Acks are for all that came in one read of the socket. */
  async startWorker(concurrency: number, run: Add) {
    const channel = await this.#model.createChannel();
    await channel.prefetch(concurrency);
    let last: Message | undefined;
    const ack = () => {
      channel.ack(last as Message, true);
      last = undefined;
    };
    await channel.consume(this.#queue, async (message) => {
      if (message === null) return;
      const { UUID, Args } = JSON.parse(message.content.toString()) as Task;
      this.#results.set(UUID, await run(Args[0]?.Value ?? 0, Args[1]?.Value ?? 0));
      if (last === undefined) setImmediate(ack);
      last = message;
    });
    let closing: Promise<void> | undefined;
    const close = async () => {
      do await turn();
      while (last !== undefined);
      await channel.close();
    };
    const stop = () => {
      closing ??= close();
      return closing;
    };
    const settled = async () => {
      await stop();
      return (await this.#confirmed.checkQueue(this.#queue)).messageCount === 0;
    };
    return { settled, stop };
  }
}

await serve((config: Config) => RawAmqp.open(config));
