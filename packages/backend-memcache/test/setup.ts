// The servers and backends of a test file, which end with it.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { GroupMeta, Logger, StateWrite, TaskState } from '@machinery/core';
import type { MemcachedServer } from '@machinery/services';
import { afterAll } from 'vitest';
import { MemcacheBackend, type MemcacheBackendOptions } from '../src/index.ts';

const ends: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const end of ends.reverse()) await end();
});

/** Stops it with the tests. */
export function stopped<S extends MemcachedServer>(server: S | undefined): S | undefined {
  if (server !== undefined) ends.push(() => server.stop());
  return server;
}

/** A backend, and what it warns of. */
export function open(options: MemcacheBackendOptions): MemcacheBackend & { readonly warnings: string[] } {
  const backend = new MemcacheBackend(options);
  const warnings: string[] = [];
  const logger: Logger = { debug() {}, info() {}, warn: (text) => void warnings.push(text), error() {} };
  backend.attach({ logger });
  ends.push(() => backend.close());
  return Object.assign(backend, { warnings });
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

export function groupOf(taskUuids: readonly string[], more: Partial<GroupMeta> = {}): GroupMeta {
  return { groupUuid: newUuid('group'), taskUuids, chordTriggered: false, lock: false, createdAt: sentAt, ...more };
}

/** Listens on a Unix socket, and passes on what comes to the server on a port. */
export async function bridge(to: number, path: string): Promise<void> {
  const server = createServer((socket) => {
    const upstream = connect(to, '127.0.0.1');
    socket.pipe(upstream).pipe(socket);
    for (const [one, other] of [[socket, upstream] as const, [upstream, socket] as const]) {
      one.on('error', () => {}); // 'close' follows
      one.on('close', () => other.destroy());
    }
  });
  server.listen(path);
  await once(server, 'listening');
  ends.push(async () => void server.close());
}
