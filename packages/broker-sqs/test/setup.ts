// Queues, messages and a look at the service, for the tests of what the contract cannot say.

import { GetQueueAttributesCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { overlay } from '@machinery/conformance';
import type { Broker, Consumer, Delivery, Message, Signature } from '@machinery/core';
import type { SqsServer } from '@machinery/services';
import { onTestFinished } from 'vitest';
import { SqsBroker, type SqsBrokerOptions } from '../src/index.ts';

let last = 0;

export function newName(end = ''): string {
  last += 1;
  return `queue-${process.pid}-${Date.now()}-${last}${end}`;
}

export function message(
  routingKey: string,
  uuid: string,
  more: Partial<Signature> & { dueAtMs?: number } = {},
): Message {
  const { dueAtMs, ...fields } = more;
  const { brokerMessageGroupId } = fields;
  const group = brokerMessageGroupId === undefined ? {} : { BrokerMessageGroupId: brokerMessageGroupId };
  const body = JSON.stringify({ UUID: uuid, Name: 'task', RoutingKey: routingKey, ...group });
  const signature = { name: 'task', uuid, routingKey, ...fields };
  return { body, routingKey, signature, ...(dueAtMs !== undefined && { dueAtMs }) };
}

/** A broker that begins to close when the test is over; nobody waits for its last receives, which take a second. */
export function open({ url }: SqsServer, options: SqsBrokerOptions = {}): SqsBroker {
  const broker = new SqsBroker({ url, waitTimeSeconds: 1, ...options });
  onTestFinished(() => void broker.close());
  return broker;
}

/** The same broker, whose `close` does not wait for its last receives: they are in nobody's way, and take a second. */
export function hasty(broker: SqsBroker): Broker {
  return overlay<Broker>(broker, { close: async () => void broker.close() });
}

/** A client that looks at the service, past the broker. */
export function raw({ url }: SqsServer): SQSClient {
  const client = new SQSClient({ endpoint: new URL(url).origin });
  onTestFinished(() => client.destroy());
  return client;
}

export async function consume(broker: SqsBroker, queue: string, slots = 10, maxInHand = slots * 2): Promise<Consumer> {
  const consumer = await broker.consume({ queue, tag: 'test', slots, maxInHand });
  onTestFinished(() => consumer.close());
  return consumer;
}

/** Takes `count` messages, and acks them if asked to. */
export async function take(
  consumer: Consumer,
  count: number,
  { acks = true, timeoutMs = 10_000 } = {},
): Promise<Delivery[]> {
  const all: Delivery[] = [];
  const signal = AbortSignal.timeout(timeoutMs);
  while (all.length < count && !signal.aborted) {
    const taken = await consumer.exchange([], count - all.length, signal);
    if (acks) await consumer.settle(taken.map((delivery) => ({ kind: 'ack', delivery })));
    all.push(...taken);
  }
  return all;
}

export function uuidOf({ body }: { readonly body: string }): string {
  return (JSON.parse(body) as { UUID: string }).UUID;
}

/** How many messages of a queue can be received, are in hand, or wait for their time. */
export async function counts(
  client: SQSClient,
  url: string,
): Promise<{ visible: number; inHand: number; delayed: number }> {
  const { Attributes = {} } = await client.send(
    new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ['All'] }),
  );
  return {
    visible: Number(Attributes.ApproximateNumberOfMessages),
    inHand: Number(Attributes.ApproximateNumberOfMessagesNotVisible),
    delayed: Number(Attributes.ApproximateNumberOfMessagesDelayed),
  };
}

/** One message past the broker, with all that is known of it. */
export async function receive(client: SQSClient, url: string, waitSeconds = 1) {
  const { Messages = [] } = await client.send(
    new ReceiveMessageCommand({
      QueueUrl: url,
      WaitTimeSeconds: waitSeconds,
      MessageAttributeNames: ['All'],
      MessageSystemAttributeNames: ['All'],
    }),
  );
  return Messages[0];
}
