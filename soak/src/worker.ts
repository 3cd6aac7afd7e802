// A worker in a process of its own, to be killed. What it runs is noted in Redis before it returns.

import { randomUUID } from 'node:crypto';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { RedisBackend } from '@machinery/backend-redis';
import { Server, silentLogger, type TaskContext } from '@machinery/core';
import { Redis } from 'ioredis';
import { type BrokerConfig, newBroker } from './brokers.ts';
import { join, joined, retried } from './tasks.ts';

/** The program's only argument, as JSON. */
export interface WorkerConfig {
  /** Of the Redis that has the states. */
  readonly url: string;
  readonly queue: string;
  /** The set in which runs are noted. */
  readonly runs: string;
  readonly name: string;
  readonly concurrency: number;
  readonly broker: BrokerConfig;
}

const config = JSON.parse(process.argv[2] as string) as WorkerConfig;
const orphaned = () => process.exit(1);
process.once('disconnect', orphaned);

const notes = new Redis(config.url, { maxRetriesPerRequest: null, enableAutoPipelining: true });
notes.on('error', () => {}); // it connects again
const server = new Server({
  broker: newBroker(config.broker),
  backend: new RedisBackend({ url: config.url }),
  defaultQueue: config.queue,
  logger: silentLogger,
});

/** A member of its own for each run, so that a note whose answer was lost can be sent again. */
async function note({ signature, attempt }: TaskContext): Promise<void> {
  await notes.sadd(config.runs, `${signature.uuid} ${attempt} ${randomUUID()}`);
  await sleep(Math.random() * 10);
}

server.handle(join, async (task, name = '', ...parts) => {
  await note(task);
  return joined(name, parts);
});
server.handle(retried, async (task, name = '', ...parts) => {
  await note(task);
  if (task.attempt === 1) throw new Error('The first time');
  return joined(name, parts);
});

const worker = server.newWorker(config.name, { concurrency: config.concurrency });
const launched = worker.launch();
await worker.start();
process.send?.('ready');
await launched;
await server.close();
await notes.quit();
process.off('disconnect', orphaned);
process.disconnect();
