// Queues, messages and a look at the server, for the tests of what the contract cannot say.

import { declaredBrokers, testBroker } from '@machinery/conformance';
import type { Consumer, Delivery, Message } from '@machinery/core';
import { Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, it, onTestFinished } from 'vitest';
import { RedisBroker, type RedisBrokerOptions } from '../src/index.ts';

let last = 0;

export function newQueue(): string {
  last += 1;
  return `queue-${process.pid}-${last}`;
}

export function message(routingKey: string, uuid: string, dueAtMs?: number): Message {
  const body = JSON.stringify({ UUID: uuid, Name: 'task', RoutingKey: routingKey });
  return { body, routingKey, signature: { name: 'task', uuid, routingKey }, ...(dueAtMs !== undefined && { dueAtMs }) };
}

/** The suite, on the Redis of a URL. `client` looks at it, past the broker. */
export function passesTheSuite(url: string, client: Redis | Cluster | undefined): void {
  testBroker(
    { describe, it, before: beforeAll, after: afterAll },
    {
      create: () => new RedisBroker({ url, leaseMs: 2_000, beatMs: 500, delayedPollMs: 20 }),
      declares: declaredBrokers['@machinery/broker-redis'] ?? {},
      collapsesDelayed: true,
      deadMessages: async (_, queue) =>
        ((await client?.lrange(`{${queue}}:dead`, 0, -1)) ?? []).map(
          (text) => JSON.parse(text) as { body: string; reason: string },
        ),
    },
  );
}

/** A broker that is closed when the test is over. */
export function open(options: RedisBrokerOptions): RedisBroker {
  const broker = new RedisBroker(options);
  onTestFinished(() => broker.close().catch(() => {}));
  return broker;
}

/** A client that is closed when the test is over: of a Cluster when the URL has several hosts. */
export function raw(url: string): Redis | Cluster {
  const hosts = url.replace('redis://', '').split(',');
  const client =
    hosts.length === 1
      ? new Redis(url)
      : new Cluster(hosts.map((host) => ({ host: '127.0.0.1', port: Number(host.split(':')[1]) })));
  onTestFinished(() => client.disconnect());
  return client;
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

/** What a worker of the name has taken: a batch of one message. */
export async function putInHand(client: Redis | Cluster, queue: string, field: string, body: string): Promise<void> {
  const lua = `redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack({ 1, ARGV[2] }))`;
  await client.eval(lua, 1, `{${queue}}:inflight`, field, body);
}
