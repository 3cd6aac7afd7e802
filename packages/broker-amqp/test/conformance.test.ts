// The broker on a real RabbitMQ passes the suite. With AMQP_DELAYS=plugin and the AMQP_URL of a server that has the plugin for delays, through that.

import process from 'node:process';
import { declaredBrokers, testBroker } from '@machinery/conformance';
import type { Broker } from '@machinery/core';
import { rabbitServer } from '@machinery/services';
import { type ChannelModel, connect } from 'amqplib';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { AmqpBroker, type AmqpBrokerOptions } from '../src/index.ts';

const rabbit = await rabbitServer();
const url = rabbit?.url as string;
const { AMQP_DELAYS: delays } = process.env as { AMQP_DELAYS?: NonNullable<AmqpBrokerOptions['delays']> };
const models = new Map<Broker, ChannelModel[]>();
const looking = rabbit && (await connect(url, { noDelay: true }));
afterAll(async () => {
  await looking?.close();
  await rabbit?.stop();
});

/** A broker whose connections a test can cut. */
function create(): Broker {
  const opened: ChannelModel[] = [];
  const broker = new AmqpBroker({
    connect: async () => {
      const model = await connect(url, { noDelay: true });
      opened.push(model);
      return model;
    },
    queueArguments: { 'x-max-priority': 10 },
    ...(delays && { delays }),
  });
  models.set(broker, opened);
  return broker;
}

async function crash(broker: Broker): Promise<void> {
  for (const model of models.get(broker) ?? [])
    (model.connection as unknown as { stream: { destroy(): void } }).stream.destroy();
}

async function deadMessages(_: Broker, queue: string) {
  const channel = await (looking as ChannelModel).createChannel();
  channel.on('error', () => {});
  const records: { body: string; reason: string }[] = [];
  try {
    for (let got = await channel.get(`${queue}.dead`); got !== false; got = await channel.get(`${queue}.dead`))
      records.push({
        body: got.content.toString(),
        reason: got.properties.headers?.['machinery-dead-reason'] as string,
      });
    await channel.close();
  } catch {
    // there is no such queue
  }
  return records;
}

async function removeQueue(queue: string): Promise<void> {
  const channel = await (looking as ChannelModel).createChannel();
  await channel.deleteQueue(queue);
  await channel.deleteQueue(`${queue}.dead`);
  await channel.close();
}

describe.skipIf(rabbit === undefined)('AmqpBroker', () => {
  testBroker(
    { describe: describe.concurrent, it, before: beforeAll, after: afterAll },
    {
      create,
      declares: declaredBrokers['@machinery/broker-amqp'] ?? {},
      countsRequeues: true,
      redeliveryMs: 5_000,
      crash,
      deadMessages,
      removeQueue,
    },
  );
});
