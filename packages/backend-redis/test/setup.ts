// The server, backends and connections of a test file, which end with it.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger, StateWrite, TaskState } from '@machinery/core';
import { connectRedis, type RedisClient, type RedisConnectionOptions } from '@machinery/redis-client';
import type { RedisServer } from '@machinery/services';
import { afterAll } from 'vitest';
import { RedisBackend, type RedisBackendOptions } from '../src/index.ts';

const ends: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const end of ends.reverse()) await end();
});

/** Stops it with the tests. */
export function stopped<S extends RedisServer>(server: S | undefined): S | undefined {
  if (server !== undefined) ends.push(() => server.stop());
  return server;
}

/** A backend, and what it warns of. */
export function open(options: RedisBackendOptions): RedisBackend & { readonly warnings: string[] } {
  const backend = new RedisBackend(options);
  const warnings: string[] = [];
  const logger: Logger = { debug() {}, info() {}, warn: (text) => void warnings.push(text), error() {} };
  backend.attach({ logger });
  ends.push(() => backend.close());
  return Object.assign(backend, { warnings });
}

/** A connection that says what is there. */
export function raw(options: RedisConnectionOptions): RedisClient {
  const connection = connectRedis('Test', options);
  ends.push(() => connection.close());
  return connection.client;
}

let last = 0;
export function newUuid(what: 'task' | 'group' = 'task'): string {
  return `${what}_${Date.now()}-${process.pid}-${++last}`;
}

export const sentAt = '2026-11-21T08:00:00.000000005Z';

export function write(taskUuid: string, state: TaskState['state'], more: Partial<TaskState> = {}): StateWrite {
  const results = state === 'SUCCESS' ? { results: [{ type: 'int64', value: 2 }] } : {};
  return {
    state: { taskUuid, taskName: 'add', state, createdAt: sentAt, ...results, ...more },
    expiresInSeconds: 60,
  };
}

/** What a call came to, and how long it took. */
export async function outcome(call: Promise<unknown>) {
  const from = performance.now();
  const tookMs = () => performance.now() - from;
  try {
    return { answer: await call, tookMs: tookMs() };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return { code, message, tookMs: tookMs() };
  }
}

/** Asks until it is so, for ten seconds. */
export async function until(ask: () => unknown): Promise<void> {
  const from = performance.now();
  for (;;) {
    let last: unknown;
    try {
      last = await ask();
    } catch (error) {
      last = error;
    }
    if (last === true) return;
    if (performance.now() - from > 10_000) throw new Error(`It is never so: ${String(last)}`);
    await sleep(10);
  }
}
