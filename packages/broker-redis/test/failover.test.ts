// A master dies and a replica takes its place: by a Sentinel's word, and in a Cluster.

import { RedisBackend } from '@machinery/backend-redis';
import { defineTask, int64, Server } from '@machinery/core';
import { startRedisCluster, startRedisSentinel } from '@machinery/services';
import { Cluster, Redis } from 'ioredis';
import { afterAll, describe, expect, it } from 'vitest';
import { RedisBroker, type RedisBrokerOptions } from '../src/index.ts';

const [sentinel, cluster] = await Promise.all([
  startRedisSentinel({ replicas: 1 }),
  startRedisCluster({ replicas: 1 }),
]);
afterAll(() => Promise.all([sentinel?.stop(), cluster?.stop()]));

const double = defineTask('double', { args: [int64], returns: int64 });
const numbers = Array.from({ length: 20 }, (_, i) => i);
const doubled = numbers.map((n) => 2 * n);
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

/** Tasks that are in hand, that wait and that are delayed when the master dies end well, and so do new ones. */
async function survives(options: RedisBrokerOptions, killMaster: () => Promise<void>): Promise<void> {
  const open = { ...options, connectTimeoutMs: 1_000, commandTimeoutMs: 2_000 };
  const broker = new RedisBroker({ ...open, leaseMs: 3_000, beatMs: 500 });
  await using server = new Server({
    broker,
    backend: new RedisBackend(open),
    defaultQueue: `failover-${Math.random()}`,
    logger: quiet,
  });
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  let begun = 0;
  server.handle(double, async (_, n) => {
    begun += 1;
    await released;
    return 2 * n;
  });
  await server.newWorker('worker', { concurrency: 5 }).start();
  const results = await Promise.all([
    ...numbers.map((n) => server.send(double(n))),
    ...numbers.map((n) => server.send(double(n), { delayMs: 1_000 + n })),
  ]);
  const got = Promise.all(results.map((result) => result.get({ timeoutMs: 30_000 })));
  await expect.poll(() => begun).toBe(5);
  await killMaster();
  release();
  expect(await got).toEqual([...doubled, ...doubled]);
  const again = await Promise.all(numbers.map((n) => server.send(double(n))));
  expect(await Promise.all(again.map((result) => result.get({ timeoutMs: 10_000 })))).toEqual(doubled);
}

describe('failover', { timeout: 60_000 }, () => {
  it.skipIf(sentinel === undefined)('by a Sentinel', async () => {
    const { url, masterName, master } = sentinel as NonNullable<typeof sentinel>;
    await survives({ url, masterName }, async () => {
      const client = new Redis(master.url);
      await client.wait(1, 5_000);
      client.disconnect();
      await master.kill();
    });
  });

  it.skipIf(cluster === undefined)('in a Cluster, of each master in turn', async () => {
    const { url, nodes } = cluster as NonNullable<typeof cluster>;
    const client = new Cluster(nodes.map(({ port }) => ({ host: '127.0.0.1', port })));
    await client.ping();
    const masters = client.nodes('master');
    const ports = masters.map((node) => node.options.port);
    for (const port of ports)
      await survives({ url }, async () => {
        await Promise.all(client.nodes('master').map((node) => node.wait(1, 500)));
        await nodes.find((node) => node.port === port)?.kill();
      });
    client.disconnect();
  });
});
