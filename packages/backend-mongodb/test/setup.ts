// The backends and connections of a test file, which end with it.

import { createRequire } from 'node:module';
import type { GroupMeta, Logger, StateWrite, TaskState } from '@machinery/core';
import { sampleGroup, sampleWrite } from '@machinery/services';
import { MongoClient, type MongoClientOptions } from 'mongodb';
import { afterAll } from 'vitest';
import { MongoBackend, type MongoBackendOptions } from '../src/index.ts';

export { newUuid, outcome, until } from '@machinery/services';

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

/** MongoDB keeps milliseconds. */
const createdAt = '2026-11-21T08:00:00.123Z';

export function write(taskUuid: string, state: TaskState['state'], more: Partial<TaskState> = {}): StateWrite {
  return sampleWrite(taskUuid, state, { createdAt, ...more });
}

export function groupOf(taskUuids: readonly string[]): GroupMeta {
  return sampleGroup(taskUuids, { createdAt });
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
