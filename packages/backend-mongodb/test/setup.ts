// The backends and connections of a test file, which end with it.

import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GroupMeta, Logger, StateWrite, TaskState } from '@machinery/core';
import { MongoClient, type MongoClientOptions } from 'mongodb';
import { afterAll } from 'vitest';
import { MongoBackend, type MongoBackendOptions } from '../src/index.ts';

const ends: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const end of ends.reverse()) await end();
});

/** Stops it with the tests. */
export function stopped<S extends { stop(): Promise<void> }>(server: S | undefined): S | undefined {
  if (server !== undefined) ends.push(() => server.stop());
  return server;
}

/** A backend, patient with a machine that is busy, and what it warns of. */
export function open(options: MongoBackendOptions): MongoBackend & { readonly warnings: string[] } {
  const patience = options.client === undefined ? { connectTimeoutMs: 20_000, commandTimeoutMs: 20_000 } : {};
  const backend = new MongoBackend({ ...patience, ...options });
  const warnings: string[] = [];
  const logger: Logger = { debug() {}, info() {}, warn: (text) => void warnings.push(text), error() {} };
  backend.attach({ logger });
  ends.push(() => backend.close());
  return Object.assign(backend, { warnings });
}

/** A client of the driver. */
export function newClient(url: string, options: MongoClientOptions = {}): MongoClient {
  const client = new MongoClient(url, options);
  ends.push(() => client.close());
  return client;
}

/** The driver as another package may have it: a copy of its own. */
export function anotherDriver(): typeof import('mongodb') {
  const require = createRequire(import.meta.url);
  require('mongodb');
  const loaded = Object.entries(require.cache).filter(([path]) => /\/(?:mongodb|bson)\//.test(path));
  for (const [path] of loaded) delete require.cache[path];
  try {
    return require('mongodb');
  } finally {
    Object.assign(require.cache, Object.fromEntries(loaded));
  }
}

let last = 0;
export function newUuid(what: 'task' | 'group' = 'task'): string {
  return `${what}_${Date.now()}-${process.pid}-${++last}`;
}

const sentAt = '2026-11-21T08:00:00.123Z';

export function write(taskUuid: string, state: TaskState['state'], more: Partial<TaskState> = {}): StateWrite {
  const results = state === 'SUCCESS' ? { results: [{ type: 'int64', value: 2 }] } : {};
  return {
    state: { taskUuid, taskName: 'add', state, createdAt: sentAt, ...results, ...more },
    expiresInSeconds: 60,
  };
}

export function groupOf(taskUuids: readonly string[]): GroupMeta {
  return { groupUuid: newUuid('group'), taskUuids, chordTriggered: false, lock: false, createdAt: sentAt };
}

/** Every call that can be waited for but `write`. */
export function callsOf(backend: MongoBackend): Promise<unknown>[] {
  const group = groupOf(['x']);
  return [
    backend.read(['x']),
    backend.purge({ tasks: ['x'] }),
    backend.initGroup(group, 60),
    backend.readGroup(group.groupUuid),
    backend.renewGroup(group.groupUuid, 60),
    backend.claimChord(group.groupUuid, 'x'),
    backend.finishChord(group.groupUuid),
  ];
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
