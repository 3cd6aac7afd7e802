// Queues, messages and a look at the server, for the tests of what the contract cannot say.

import { PubSub, v1 } from '@google-cloud/pubsub';
import type { Consumer, Delivery, Message } from '@machinery/core';
import { type StartedPubSub, startPubSub } from '@machinery/services';
import { PubSubBroker, type PubSubBrokerOptions } from '../src/index.ts';

export const projectId = 'machinery-tests';
let last = 0;

export function newQueue(): string {
  last += 1;
  return `queue-${process.pid}-${last}`;
}

type Subscription = Parameters<v1.SubscriberClient['createSubscription']>[0];

/** A look at the server past the broker, on a connection of its own. */
export class Admin {
  readonly publisher: v1.PublisherClient;
  readonly subscriber: v1.SubscriberClient;

  constructor(host: string) {
    const [servicePath = '', port] = host.split(':');
    const clientOptions = { universeDomain: 'googleapis.com' }; // or it looks for Google's metadata server
    const { options } = new PubSub({ projectId, apiEndpoint: host, emulatorMode: true, clientOptions });
    const config = { ...options, servicePath, port: Number(port) } as ConstructorParameters<
      typeof v1.PublisherClient
    >[0];
    this.publisher = new v1.PublisherClient(config);
    this.subscriber = new v1.SubscriberClient(config);
  }

  topic(queue: string): string {
    return `projects/${projectId}/topics/${queue}`;
  }

  subscription(queue: string): string {
    return `projects/${projectId}/subscriptions/${queue}`;
  }

  /** A topic and a subscription of that name, whose leases are two seconds at first. */
  async create(queue: string, more: Subscription = {}): Promise<void> {
    await this.publisher.createTopic({ name: this.topic(queue) });
    await this.subscriber.createSubscription({
      name: this.subscription(queue),
      topic: this.topic(queue),
      ackDeadlineSeconds: 2,
      ...more,
    });
  }

  async remove(queue: string): Promise<void> {
    await this.subscriber.deleteSubscription({ subscription: this.subscription(queue) });
    await this.publisher.deleteTopic({ topic: this.topic(queue) });
  }

  async publish(queue: string, body: string): Promise<void> {
    await this.publisher.publish({ topic: this.topic(queue), messages: [{ data: Buffer.from(body) }] });
  }

  /** What is to be had now; it is acked. */
  async take(queue: string, maxMessages = 100) {
    const subscription = this.subscription(queue);
    const [{ receivedMessages }] = await this.subscriber.pull({ subscription, maxMessages, returnImmediately: true });
    const got = receivedMessages ?? [];
    const ackIds = got.map(({ ackId }) => ackId as string);
    if (ackIds.length > 0) await this.subscriber.acknowledge({ subscription, ackIds });
    return got.map(({ message }) => message ?? {});
  }

  async close(): Promise<void> {
    await Promise.all([this.publisher.close(), this.subscriber.close()]);
  }
}

const opened: { close(): Promise<unknown> }[] = [];

/** A broker that `closeAll` closes. */
export function open(host: string, options: PubSubBrokerOptions = {}): PubSubBroker {
  const broker = new PubSubBroker({ ...at(host), ...options });
  opened.push(broker);
  return broker;
}

/** A server of the test's own, and a look at it, both of which `closeAll` closes; undefined where there is none. */
export async function ownServer(): Promise<{ server: StartedPubSub; look: Admin } | undefined> {
  const server = await startPubSub();
  if (server === undefined) return undefined;
  const look = new Admin(server.host);
  opened.push({ close: () => look.close().then(() => server.stop()) });
  return { server, look };
}

/** What the tests of a file have opened. */
export async function closeAll(): Promise<void> {
  for (const one of opened) await one.close();
}

/** The options of a broker on the fake. */
export function at(host: string): PubSubBrokerOptions {
  return { projectId, clientConfig: { apiEndpoint: host, emulatorMode: true }, leaseSeconds: 2 };
}

export function message(routingKey: string, uuid: string, more: Partial<Message> = {}): Message {
  const signature = { name: 'task', uuid, routingKey, ...more.signature };
  const body = JSON.stringify({ UUID: uuid, Name: 'task', RoutingKey: routingKey });
  return { body, routingKey, ...more, signature };
}

/** A consumer with ten slots. */
export function consume(broker: PubSubBroker, queue: string): Promise<Consumer> {
  return broker.consume({ queue, tag: 'test', slots: 10, maxInHand: 20 });
}

/** Takes `count` messages. */
export async function take(consumer: Consumer, count: number, timeoutMs = 10_000): Promise<Delivery[]> {
  const all: Delivery[] = [];
  const signal = AbortSignal.timeout(timeoutMs);
  while (all.length < count && !signal.aborted) all.push(...(await consumer.exchange([], count - all.length, signal)));
  return all;
}

/** What comes within a time, which should be little. */
export function takeWithin(consumer: Consumer, timeoutMs: number): Promise<Delivery[]> {
  return consumer.exchange([], 10, AbortSignal.timeout(timeoutMs));
}

export function uuidOf({ body }: Delivery): string {
  return (JSON.parse(body) as { UUID: string }).UUID;
}
