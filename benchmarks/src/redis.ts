// What a task costs a Redis, in commands (INFO commandstats, those of scripts included), and how soon an idle worker starts it.
// `npm run bench -- redis [--tasks 20000] [--save]`; starts a Redis of its own, which keeps nothing on disk.

import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { RedisBackend } from '@machinery/backend-redis';
import { RedisBroker } from '@machinery/broker-redis';
import { defineTask, float64, Server, silentLogger, type Worker } from '@machinery/core';
import { startRedis } from '@machinery/services';
import { Redis } from 'ioredis';

const { values } = parseArgs({
  options: { tasks: { type: 'string', default: '20000' }, save: { type: 'boolean', default: false } },
});
const tasks = Number(values.tasks);
const idleSeconds = 20;
const pings = 500;

const noop = defineTask('noop');
const now = defineTask('now', { args: [], returns: float64 });
const clock = () => performance.timeOrigin + performance.now();

const redis = await startRedis();
if (redis === undefined) process.exit(0); // it said so
const { url } = redis;
const client = new Redis(url);
const [, version = '?'] = /redis_version:(\S+)/.exec(await client.info('server')) ?? [];

function newServer(push = true): Server {
  const server = new Server({
    broker: new RedisBroker({ url }),
    backend: new RedisBackend({ url, push }),
    logger: silentLogger,
  });
  server.handle(noop, () => {});
  server.handle(now, () => clock());
  return server;
}

async function startWorker(server: Server, concurrency: number): Promise<Worker> {
  const worker = server.newWorker('bench', { concurrency });
  await worker.start();
  return worker;
}

/** How many commands of which kind Redis ran while `work` ran. */
async function commandsOf(work: () => Promise<unknown>): Promise<Record<string, number>> {
  await client.config('RESETSTAT');
  await work();
  const calls: Record<string, number> = {};
  for (const [, name, count] of (await client.info('commandstats')).matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm))
    if (name !== undefined && !/^(?:config|info)/.test(name)) calls[name] = Number(count);
  return calls;
}

function sum(calls: Record<string, number>): number {
  return Object.values(calls).reduce((a, b) => a + b, 0);
}

/** Commands from send to ack of one no-op task, of many that are sent 100 at once. */
async function perTask(concurrency: number, push: boolean): Promise<Record<string, number>> {
  await client.flushall();
  await using sender = newServer(push);
  await using server = newServer(push);
  const calls = await commandsOf(async () => {
    for (let sent = 0; sent < tasks; sent += 100)
      await Promise.all(Array.from({ length: Math.min(100, tasks - sent) }, () => sender.send(noop())));
    const worker = await startWorker(server, concurrency);
    while ((await server.pendingTasks(undefined, { limit: 1 })).length > 0) await sleep(100);
    await worker.quit();
  });
  return Object.fromEntries(Object.entries(calls).map(([name, count]) => [name, count / tasks]));
}

/** Commands a second of a worker that has nothing to do. */
async function idle(): Promise<number> {
  await client.flushall();
  await using server = newServer();
  await startWorker(server, 10);
  await sleep(2_000);
  return sum(await commandsOf(() => sleep(idleSeconds * 1_000))) / idleSeconds;
}

interface Latencies {
  readonly started: number[];
  readonly result: number[];
}

/** One task at a time: milliseconds from `send` until its handler runs, and until its result is there. */
async function latency(): Promise<Latencies> {
  await client.flushall();
  await using sender = newServer();
  await using server = newServer();
  await startWorker(server, 10);
  const started: number[] = [];
  const result: number[] = [];
  for (let i = 0; i < pings + 50; i++) {
    const sentAt = clock();
    const at = (await (await sender.send(now())).get({ timeoutMs: 10_000 })) as number;
    const gotAt = clock();
    if (i >= 50) {
      started.push(at - sentAt); // the first ones are the compiler's
      result.push(gotAt - sentAt);
    }
    await sleep(5);
  }
  return { started, result };
}

function percentile(numbers: readonly number[], share: number): string {
  const sorted = numbers.toSorted((a, b) => a - b);
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number).toFixed(2);
}

console.log(
  `Redis ${version}, Node ${process.versions.node}, ${cpus()[0]?.model} x ${cpus().length}, ${tasks} tasks\n`,
);
const commands: Record<string, Record<string, number>> = {};
for (const push of [true, false]) {
  for (const concurrency of [1, 10, 100]) {
    const name = `concurrency ${concurrency}${push ? '' : ', without push'}`;
    const calls = await perTask(concurrency, push);
    commands[name] = calls;
    const kinds = Object.entries(calls)
      .filter(([, count]) => count >= 0.005)
      .sort(([, a], [, b]) => b - a)
      .map(([kind, count]) => `${kind} ${count.toFixed(2)}`);
    console.log(`commands for a task, ${name}: ${sum(calls).toFixed(2)} (${kinds.join(', ')})`);
  }
}
const idleCommands = await idle();
console.log(`commands a second of an idle worker: ${idleCommands.toFixed(2)}`);
const latencies = await latency();
for (const [name, numbers] of Object.entries(latencies))
  console.log(`sent → ${name}, ms: p50 ${percentile(numbers, 0.5)}, p99 ${percentile(numbers, 0.99)}`);

if (values.save) {
  const folder = fileURLToPath(new URL('../results/', import.meta.url));
  mkdirSync(folder, { recursive: true });
  const machine = { node: process.versions.node, redis: version, cpu: cpus()[0]?.model, cpus: cpus().length };
  const raw = { machine, tasks, commands, idleCommands, latencies };
  writeFileSync(`${folder}redis-node${process.versions.node.split('.')[0]}.json`, `${JSON.stringify(raw, null, 1)}\n`);
}
client.disconnect();
await redis.stop();
