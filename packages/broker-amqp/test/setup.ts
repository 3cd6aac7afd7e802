// Queues, messages and a look at the server, for the tests of what the contract cannot say.

import type { Consumer, Delivery, Message } from '@machinery/core';
import { type ChannelModel, connect } from 'amqplib';
import { onTestFinished } from 'vitest';
import { AmqpBroker, type AmqpBrokerOptions } from '../src/index.ts';

let last = 0;

export function newQueue(): string {
  last += 1;
  return `queue-${process.pid}-${last}`;
}

export function message(routingKey: string, uuid: string, dueAtMs?: number): Message {
  const body = JSON.stringify({ UUID: uuid, Name: 'task', RoutingKey: routingKey });
  return { body, routingKey, signature: { name: 'task', uuid, routingKey }, ...(dueAtMs !== undefined && { dueAtMs }) };
}

/** A broker that is closed when the test is over. */
export function open(options: AmqpBrokerOptions): AmqpBroker {
  const broker = new AmqpBroker(options);
  onTestFinished(() => broker.close().catch(() => {}));
  return broker;
}

/** A connection that looks at the server, past the broker, until the test is over. */
export async function raw(url: string): Promise<ChannelModel> {
  const model = await connect(url, { noDelay: true });
  model.on('error', () => {});
  onTestFinished(() => model.close().catch(() => {}));
  return model;
}

/** Takes `count` messages and acks them. */
export async function drain(consumer: Consumer, count: number, timeoutMs = 10_000): Promise<Delivery[]> {
  const all: Delivery[] = [];
  const signal = AbortSignal.timeout(timeoutMs);
  while (all.length < count && !signal.aborted) {
    const taken = await consumer.exchange([], count - all.length, signal);
    await consumer.settle(taken.map((delivery) => ({ kind: 'ack', delivery })));
    all.push(...taken);
  }
  return all;
}

export function uuidOf({ body }: Delivery): string {
  return (JSON.parse(body) as { UUID: string }).UUID;
}
