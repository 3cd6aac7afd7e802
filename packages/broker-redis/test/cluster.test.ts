// The broker on a Cluster of three passes the suite: the queues of a test and the delayed set are on different nodes.

import { startRedisCluster } from '@machinery/services';
import { Cluster } from 'ioredis';
import { afterAll, describe } from 'vitest';
import { passesTheSuite } from './setup.ts';

const cluster = await startRedisCluster();
const url = cluster?.url as string;
const hosts = cluster?.nodes.map(({ port }) => ({ host: '127.0.0.1', port })) ?? [];
const client = cluster === undefined ? undefined : new Cluster(hosts);
afterAll(async () => {
  client?.disconnect();
  await cluster?.stop();
});

describe.skipIf(cluster === undefined)('RedisBroker on a Cluster', () => passesTheSuite(url, client));
