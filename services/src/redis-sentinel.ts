// A Redis that a Sentinel watches, for tests.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { answers, freePort, type RedisServer, replicated, type StartedRedis, startRedis } from './redis.ts';

export interface RedisSentinel extends RedisServer {
  /** The Sentinel's. */
  readonly url: string;
  readonly masterName: string;
  readonly master: StartedRedis;
  readonly replicas: readonly StartedRedis[];
}

/** One Sentinel, its master, and so many replicas. undefined where there is no Redis. */
export async function startRedisSentinel({ replicas: count = 0 } = {}): Promise<RedisSentinel | undefined> {
  const master = await startRedis();
  if (master === undefined) return undefined;
  const settings = ['--replicaof', '127.0.0.1', String(master.port), '--repl-diskless-sync-delay', '0'];
  const replicas = (await Promise.all(Array.from({ length: count }, () => startRedis({ settings })))) as StartedRedis[];
  await Promise.all(replicas.map((replica) => replicated(replica.port))); // or the Sentinel learns of them only seconds later
  const masterName = 'the-master';
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'machinery-sentinel-'));
  const config = join(folder, 'sentinel.conf'); // it writes what it finds out there
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    `sentinel monitor ${masterName} 127.0.0.1 ${master.port} 1`,
    `sentinel down-after-milliseconds ${masterName} 500`,
    `sentinel failover-timeout ${masterName} 2000`,
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const child = spawn(master.program, [config, '--sentinel'], { stdio: 'ignore' });
  process.once('exit', () => child.kill('SIGKILL'));
  child.unref();
  const stop = async () => {
    child.ref();
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    await Promise.all([master, ...replicas].map((redis) => redis.stop()));
    rmSync(folder, { recursive: true, force: true });
  };
  while (!(await answers(port))) {
    if (child.exitCode !== null) {
      await stop();
      throw new Error(`The Sentinel ended with ${child.exitCode} at its start`);
    }
    await sleep(20);
  }
  return { url: `redis://127.0.0.1:${port}`, masterName, master, replicas, stop };
}
