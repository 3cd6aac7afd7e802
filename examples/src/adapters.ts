// The broker and the backend that a URL names: one more transport is one more row.

import { AmqpBackend } from '@machinery/backend-amqp';
import { MongoBackend } from '@machinery/backend-mongodb';
import { RedisBackend } from '@machinery/backend-redis';
import { AmqpBroker } from '@machinery/broker-amqp';
import { RedisBroker } from '@machinery/broker-redis';
import type { Backend, Broker } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';

const redisBroker = (url: string) => new RedisBroker({ url });
const redisBackend = (url: string) => new RedisBackend({ url });
const amqpBroker = (url: string) => new AmqpBroker({ url });
const amqpBackend = (url: string) => new AmqpBackend({ url });
const mongoBackend = (url: string) => new MongoBackend({ url });

const brokers = new Map<string, (url: string) => Broker>([
  ['memory://', () => new MemoryBroker()],
  ['redis://', redisBroker],
  ['rediss://', redisBroker], // with TLS
  ['redis+socket://', redisBroker],
  ['amqp://', amqpBroker],
  ['amqps://', amqpBroker],
]);

const backends = new Map<string, (url: string) => Backend>([
  ['memory://', () => new MemoryBackend()],
  ['redis://', redisBackend],
  ['rediss://', redisBackend],
  ['redis+socket://', redisBackend],
  ['amqp://', amqpBackend],
  ['amqps://', amqpBackend],
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
