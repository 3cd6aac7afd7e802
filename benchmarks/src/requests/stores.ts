// The brokers and backends whose requests are counted, each on a server of its own. What a request is differs: where commands are
// pipelined it is what leaves together, as that costs one round trip.

import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { SQSClient } from '@aws-sdk/client-sqs';
import { AmqpBackend } from '@machinery/backend-amqp';
import { DynamoBackend } from '@machinery/backend-dynamodb';
import { MemcacheBackend } from '@machinery/backend-memcache';
import { MongoBackend } from '@machinery/backend-mongodb';
import { RedisBackend } from '@machinery/backend-redis';
import { AmqpBroker } from '@machinery/broker-amqp';
import { PubSubBroker } from '@machinery/broker-pubsub';
import { RedisBroker } from '@machinery/broker-redis';
import { SqsBroker } from '@machinery/broker-sqs';
import type { Backend, Broker } from '@machinery/core';
import {
  startDynamo,
  startMemcached,
  startMongo,
  startPubSub,
  startRabbit,
  startRedis,
  startSqs,
  tcpProxy,
} from '@machinery/services';
import { MongoClient } from 'mongodb';

export interface Store {
  /** The packages. */
  readonly name: string;
  /** What a request is. */
  readonly request: string;
  /** Undefined where its server cannot be had. */
  start(): Promise<StartedStore | undefined>;
}

export interface StartedStore {
  /** A client of its own, each time; undefined: messages stay in memory. */
  readonly broker?: () => Broker;
  /** The same for states. */
  readonly backend?: () => Backend;
  /** All requests so far. */
  requests(): number | Promise<number>;
  stop(): Promise<unknown>;
}

/** The default queue. */
export const queue = 'requests';
const piece = 'what leaves together, pipelined';

export const stores: readonly Store[] = [
  { name: 'backend-redis', request: piece, start: () => onRedis({ backend: true }) },
  { name: 'backend-memcache', request: piece, start: onMemcached },
  { name: 'backend-mongodb', request: 'a command', start: onMongo },
  { name: 'backend-dynamodb', request: 'an HTTP request', start: onDynamo },
  { name: 'backend-amqp', request: piece, start: () => onRabbit({ backend: true }) },
  { name: 'broker-redis', request: piece, start: () => onRedis({ broker: true }) },
  { name: 'broker-redis + backend-redis', request: piece, start: () => onRedis({ broker: true, backend: true }) },
  { name: 'broker-amqp', request: piece, start: () => onRabbit({ broker: true }) },
  { name: 'broker-sqs', request: 'an HTTP request', start: onSqs },
  { name: 'broker-pubsub', request: 'a call', start: onPubSub },
];

interface Parts {
  readonly broker?: boolean;
  readonly backend?: boolean;
}

/** A server that commands are pipelined to, behind a proxy. */
async function counted<S extends { readonly port: number; stop(): Promise<void> }>(
  server: S,
  open: (port: number) => Pick<StartedStore, 'broker' | 'backend'>,
): Promise<StartedStore> {
  const proxy = await tcpProxy({ to: server.port });
  return {
    ...open(proxy.port),
    requests: () => proxy.pieces,
    stop: () => proxy.close().then(() => server.stop()),
  };
}

async function onRedis(parts: Parts): Promise<StartedStore | undefined> {
  const redis = await startRedis();
  return redis && counted(redis, (port) => only(parts, RedisBroker, RedisBackend, `redis://127.0.0.1:${port}`));
}

async function onRabbit(parts: Parts): Promise<StartedStore | undefined> {
  const rabbit = await startRabbit();
  return rabbit && counted(rabbit, (port) => only(parts, AmqpBroker, AmqpBackend, `amqp://127.0.0.1:${port}`));
}

function only(
  { broker, backend }: Parts,
  OneBroker: new (options: { url: string }) => Broker,
  OneBackend: new (options: { url: string }) => Backend,
  url: string,
) {
  return {
    ...(broker && { broker: () => new OneBroker({ url }) }),
    ...(backend && { backend: () => new OneBackend({ url }) }),
  };
}

async function onMemcached(): Promise<StartedStore | undefined> {
  const memcached = await startMemcached();
  const backend = (port: number) => new MemcacheBackend({ url: `memcache://127.0.0.1:${port}` });
  return memcached && counted(memcached, (port) => ({ backend: () => backend(port) }));
}

async function onMongo(): Promise<StartedStore | undefined> {
  const mongo = await startMongo();
  if (mongo === undefined) return undefined;
  let requests = 0;
  const clients: MongoClient[] = [];
  const backend = () => {
    const client = new MongoClient(mongo.url, { monitorCommands: true });
    client.on('commandStarted', () => {
      requests++;
    });
    clients.push(client);
    return new MongoBackend({ client });
  };
  const stop = async () => {
    await Promise.all(clients.map((client) => client.close()));
    await mongo.stop();
  };
  return { backend, requests: () => requests, stop };
}

async function onDynamo(): Promise<StartedStore | undefined> {
  const dynamo = await startDynamo();
  const { client, requests } = counting(() => new DynamoDBClient({ endpoint: dynamo.endpoint }));
  const stop = async () => {
    client.destroy();
    await dynamo.stop();
  };
  return { backend: () => new DynamoBackend({ client, createTables: true }), requests, stop };
}

async function onSqs(): Promise<StartedStore | undefined> {
  const sqs = await startSqs();
  await sqs.createQueue(queue);
  const { client, requests } = counting(() => new SQSClient({ endpoint: new URL(sqs.url).origin }));
  const stop = async () => {
    client.destroy();
    await sqs.stop();
  };
  return { broker: () => new SqsBroker({ url: sqs.url, client, receivingClient: client }), requests, stop };
}

/** A client of the AWS SDK, and how many requests it has sent, those that it tried again among them. */
function counting<C extends DynamoDBClient | SQSClient>(open: () => C) {
  const client = open();
  let requests = 0;
  const stack = client.middlewareStack as Pick<DynamoDBClient['middlewareStack'], 'add'>; // whatever it sends
  stack.add(
    (next) => (args) => {
      requests++;
      return next(args);
    },
    { step: 'finalizeRequest', priority: 'low' }, // after what tries again
  );
  return { client, requests: () => requests };
}

async function onPubSub(): Promise<StartedStore | undefined> {
  const pubsub = await startPubSub();
  if (pubsub === undefined) return undefined;
  const options = { projectId: 'requests', clientConfig: { apiEndpoint: pubsub.host, emulatorMode: true } };
  return {
    broker: () => new PubSubBroker({ ...options, createMissing: true }),
    requests: async () => Object.values(await pubsub.calls()).reduce((sum, calls) => sum + calls, 0),
    stop: () => pubsub.stop(),
  };
}
