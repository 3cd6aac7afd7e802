// The broker and the backend that a URL names: one more transport is one more row.

import { AmqpBackend } from '@machinery/backend-amqp';
import { MemcacheBackend } from '@machinery/backend-memcache';
import { DynamoBackend } from '@machinery/backend-dynamodb';
import { MongoBackend } from '@machinery/backend-mongodb';
import { RedisBackend } from '@machinery/backend-redis';
import { AmqpBroker } from '@machinery/broker-amqp';
import { PubSubBroker } from '@machinery/broker-pubsub';
import { RedisBroker } from '@machinery/broker-redis';
import { SqsBroker } from '@machinery/broker-sqs';
import type { Backend, Broker } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';

const redisBroker = (url: string) => new RedisBroker({ url });
const redisBackend = (url: string) => new RedisBackend({ url });
const amqpBroker = (url: string) => new AmqpBroker({ url });
/** `pubsub://<project>/<subscription>`, both of which are there or, with the topic, come into being. */
const pubsubBroker = (url: string) => {
  const [, projectId = '', subscription = ''] = /^pubsub:\/\/([^/]+)\/(.+)$/.exec(url) ?? [];
  return new PubSubBroker({ projectId, subscription, createMissing: true });
};
const sqsBroker = (url: string) => new SqsBroker({ url }); // of a queue, without its name
const amqpBackend = (url: string) => new AmqpBackend({ url });
/** `dynamodb://region`, or with the region of the environment. */
const dynamoBackend = (url: string) => {
  const region = url.replace('dynamodb://', '');
  return new DynamoBackend(region === '' ? {} : { region });
};
const dynamoEmulator = (url: string) =>
  new DynamoBackend({ endpoint: url.replace('dynamodb+', ''), createTables: true });
const mongoBackend = (url: string) => new MongoBackend({ url });

const brokers = new Map<string, (url: string) => Broker>([
  ['memory://', () => new MemoryBroker()],
  ['redis://', redisBroker],
  ['rediss://', redisBroker], // with TLS
  ['redis+socket://', redisBroker],
  ['amqp://', amqpBroker],
  ['amqps://', amqpBroker],
  ['pubsub://', pubsubBroker],
  ['http://', sqsBroker],
  ['https://', sqsBroker],
]);

const backends = new Map<string, (url: string) => Backend>([
  ['memory://', () => new MemoryBackend()],
  ['redis://', redisBackend],
  ['rediss://', redisBackend],
  ['redis+socket://', redisBackend],
  ['amqp://', amqpBackend],
  ['amqps://', amqpBackend],
  ['memcache://', (url: string) => new MemcacheBackend({ url })],
  ['dynamodb://', dynamoBackend],
  ['dynamodb+http://', dynamoEmulator],
  ['mongodb://', mongoBackend],
  ['mongodb+srv://', mongoBackend],
]);

export function brokerOf(url: string): Broker {
  return adapterOf('broker', brokers, url);
}

export function backendOf(url: string): Backend {
  return adapterOf('backend', backends, url);
}

function adapterOf<Adapter>(what: string, table: ReadonlyMap<string, (url: string) => Adapter>, url: string): Adapter {
  const [scheme = 'no scheme'] = /^[\w+.-]+:\/\//.exec(url) ?? [];
  const make = table.get(scheme);
  if (make === undefined)
    throw new Error(`The URL of the ${what} has ${scheme}, expected one of ${[...table.keys()].join(', ')}`);
  return make(url);
}
