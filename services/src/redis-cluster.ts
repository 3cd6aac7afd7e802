// A Redis Cluster for tests.

import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram, missing } from './available.ts';
import { freePort, type RedisServer, replicated, reply, type StartedRedis, startRedis } from './redis.ts';

export interface RedisCluster extends RedisServer {
  /** All nodes, as one URL. */
  readonly url: string;
  readonly nodes: readonly StartedRedis[];
}

/** Three masters, each with so many replicas. undefined where there is no Redis. */
export async function startRedisCluster({ replicas = 0 } = {}): Promise<RedisCluster | undefined> {
  const cli = findProgram(['redis-cli', 'valkey-cli'], 'redis-tools');
  if (cli === undefined) return missing('redis-cli', 'install redis-tools or valkey-tools');
  const nodes: StartedRedis[] = [];
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.stop()));
  };
  for (let i = 0; i < 3 * (1 + replicas); i++) {
    const settings = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000'];
    const node = await startRedis({ settings, port: await nodePort() });
    if (node === undefined) return undefined;
    nodes.push(node);
  }
  const hosts = nodes.map(({ port }) => `127.0.0.1:${port}`);
  try {
    const create = ['--cluster', 'create', ...hosts, '--cluster-replicas', String(replicas), '--cluster-yes'];
    execFileSync(cli, create, { stdio: 'ignore', timeout: 20_000 });
    for (const { port } of nodes) {
      while (!(await reply(port, 'CLUSTER INFO'))?.includes('cluster_state:ok')) await sleep(50);
      if ((await reply(port, 'ROLE'))?.includes('slave')) await replicated(port);
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { url: `redis://${hosts.join(',')}`, nodes, stop };
}

/** One whose bus, 10,000 above, is a port, too. */
async function nodePort(): Promise<number> {
  for (;;) {
    const port = await freePort();
    if (port < 55_000) return port;
  }
}
