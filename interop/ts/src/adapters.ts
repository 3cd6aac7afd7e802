// Brokers and result backends by the scheme of their URL: one more transport is one more row.

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

/** What the command line says about them. */
export interface AdapterFlags {
  readonly broker: string;
  readonly backend: string;
  /** AMQP: the exchange, and the key that the default queue is bound with. */
  readonly exchange: string;
  readonly binding: string;
  /** AWS: the address of an emulator. */
  readonly endpoint: string;
}

type Table<Adapter> = ReadonlyMap<string, (flags: AdapterFlags) => Adapter>;

const redisBroker = ({ broker: url }: AdapterFlags) => new RedisBroker({ url });
const redisBackend = ({ backend: url }: AdapterFlags) => new RedisBackend({ url });
const amqpBroker = ({ broker: url, exchange, binding: bindingKey }: AdapterFlags) =>
  new AmqpBroker({ url, exchange, bindingKey });
const pubsubBroker = ({ broker: url }: AdapterFlags) => {
  const [, projectId = '', subscription = ''] = /^pubsub:\/\/([^/]+)\/(.+)$/.exec(url) ?? [];
  return new PubSubBroker({ projectId, subscription });
};
const sqsBroker = ({ broker: url, endpoint }: AdapterFlags) =>
  new SqsBroker({ url, ...(endpoint !== '' && { endpoint }), waitTimeSeconds: 1 });
const amqpBackend = ({ backend: url }: AdapterFlags) => new AmqpBackend({ url });
const memcacheBackend = ({ backend: url }: AdapterFlags) => new MemcacheBackend({ url });
const dynamoBackend = ({ backend: url }: AdapterFlags) =>
  new DynamoBackend({
    endpoint: url.replace('dynamodb+', ''),
    region: 'us-east-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    createTables: true,
  });
/** Go: its peer takes no other database, whatever the URL says. */
const mongoBackend = ({ backend: url }: AdapterFlags) => new MongoBackend({ url, database: 'machinery' });

const brokers: Table<Broker> = new Map<string, (flags: AdapterFlags) => Broker>([
  ['redis://', redisBroker],
  ['rediss://', redisBroker],
  ['redis+socket://', redisBroker],
  ['amqp://', amqpBroker],
  ['amqps://', amqpBroker],
  ['pubsub://', pubsubBroker],
  ['http://', sqsBroker],
  ['https://', sqsBroker],
]);

const backends: Table<Backend> = new Map<string, (flags: AdapterFlags) => Backend>([
  ['redis://', redisBackend],
  ['rediss://', redisBackend],
  ['redis+socket://', redisBackend],
  ['amqp://', amqpBackend],
  ['amqps://', amqpBackend],
  ['memcache://', memcacheBackend],
  ['dynamodb+http://', dynamoBackend],
  ['mongodb://', mongoBackend],
]);

export function brokerOf(flags: AdapterFlags): Broker {
  return adapterOf('broker', brokers, flags);
}

export function backendOf(flags: AdapterFlags): Backend {
  return adapterOf('backend', backends, flags);
}

function adapterOf<Adapter>(what: 'broker' | 'backend', table: Table<Adapter>, flags: AdapterFlags): Adapter {
  const [scheme = 'no scheme'] = /^[\w+.-]+:\/\//.exec(flags[what]) ?? [];
  const make = table.get(scheme);
  if (make === undefined)
    throw new Error(`The URL of the ${what} begins with ${scheme}, expected one of ${[...table.keys()].join(', ')}`);
  return make(flags);
}
