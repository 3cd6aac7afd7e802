// The broker on a Cluster of three passes the suite: the queues of a test and the delayed set are on different nodes.

import { declaredBrokers, testBroker } from '@machinery/conformance';
import { startRedisCluster } from '@machinery/services';
import { Cluster } from 'ioredis';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { RedisBroker } from '../src/index.ts';

const cluster = await startRedisCluster();
const url = cluster?.url as string;
const hosts = cluster?.nodes.map(({ port }) => ({ host: '127.0.0.1', port })) ?? [];
const client = cluster === undefined ? undefined : new Cluster(hosts);
afterAll(async () => {
  client?.disconnect();
  await cluster?.stop();
});

const { '@machinery/broker-redis': declares } = declaredBrokers;
describe.skipIf(cluster === undefined || declares === undefined)('RedisBroker on a Cluster', () => {
  testBroker(
    { describe, it, before: beforeAll, after: afterAll },
    {
      create: () => new RedisBroker({ url, leaseMs: 2_000, beatMs: 500, delayedPollMs: 20 }),
      declares: declares ?? {},
      collapsesDelayed: true,
      deadMessages: async (_, queue) =>
        ((await client?.lrange(`{${queue}}:dead`, 0, -1)) ?? []).map(
          (text) => JSON.parse(text) as { body: string; reason: string },
        ),
    },
  );
});
