// What is found when all is over: the state of every task, how often each ran, and what is left in Redis.

import type { Backend } from '@machinery/core';
import type { Redis } from 'ioredis';

/** A task of something that was accepted. */
export interface ExpectedTask {
  readonly uuid: string;
  readonly value: string;
  /** How often it runs when nothing breaks. */
  readonly runs: number;
}

const batchSize = 500;

/** What is wrong with the stored states. */
export async function wrongStates(backend: Backend, tasks: readonly ExpectedTask[]): Promise<string[]> {
  const wrong: string[] = [];
  for (let i = 0; i < tasks.length; i += batchSize) {
    const batch = tasks.slice(i, i + batchSize);
    const states = await backend.read(batch.map(({ uuid }) => uuid));
    batch.forEach(({ uuid, value }, at) => {
      const { state = 'no state', results, error = '' } = states[at] ?? {};
      const got = results?.[0]?.value;
      if (state !== 'SUCCESS') wrong.push(`${uuid}: expected ${value}, got ${state} ${error}`);
      else if (got !== value) wrong.push(`${uuid}: expected ${value}, got ${String(got)}`);
    });
  }
  return wrong;
}

export interface Runs {
  readonly total: number;
  /** Runs more than when nothing breaks. */
  readonly again: number;
  /** Tasks with a result that no run was noted for. */
  readonly missing: readonly string[];
}

/** Counts the runs in the set that workers note them in: UUID, attempt, and something of the run's own. */
export async function countRuns(client: Redis, key: string, tasks: readonly ExpectedTask[]): Promise<Runs> {
  const counts = new Map<string, number>();
  for await (const members of client.sscanStream(key, { count: 1_000 }))
    for (const run of new Set<string>(members)) {
      const uuid = run.slice(0, run.indexOf(' '));
      counts.set(uuid, (counts.get(uuid) ?? 0) + 1);
    }
  let [total, again] = [0, 0];
  const missing: string[] = [];
  for (const { uuid, value, runs } of tasks) {
    const count = counts.get(uuid) ?? 0;
    total += count;
    again += Math.max(0, count - runs);
    if (count < runs) missing.push(`${uuid}: ${value} has run ${count} times, not ${runs}`);
  }
  return { total, again, missing };
}

/** Keys of the queue that hold messages: waiting, delayed, in hand or dead. Whatever the keys are, a message has its UUID. */
export async function leftMessages(client: Redis, queue: string): Promise<string[]> {
  const left: string[] = [];
  for (const key of await client.keys(`*${queue}*`)) {
    const count = (await valuesOf(client, key)).filter((value) => value.includes('UUID')).length;
    if (count > 0) left.push(`${key} holds ${count} messages`);
  }
  return left;
}

async function valuesOf(client: Redis, key: string): Promise<string[]> {
  const type = await client.type(key);
  if (type === 'list') return client.lrange(key, 0, -1);
  if (type === 'zset') return client.zrange(key, '0', '-1');
  if (type === 'set') return client.smembers(key);
  if (type === 'hash') return Object.entries(await client.hgetall(key)).flat();
  if (type === 'stream') return (await client.xrange(key, '-', '+')).flatMap(([, fields]) => fields);
  return type === 'string' ? [(await client.get(key)) ?? ''] : [];
}
