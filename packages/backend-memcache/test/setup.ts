// The servers and backends of a test file, which end with it.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Logger } from '@machinery/core';
import type { MemcachedServer } from '@machinery/services';
import { afterAll } from 'vitest';
import { MemcacheBackend, type MemcacheBackendOptions } from '../src/index.ts';

export { newUuid, sampleGroup as groupOf, sampleTime as sentAt, sampleWrite as write } from '@machinery/services';

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
