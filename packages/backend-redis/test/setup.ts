import type { Logger } from '@machinery/core';
import { connectRedis, type RedisClient, type RedisConnectionOptions } from '@machinery/redis-client';
import type { RedisServer } from '@machinery/services';
import { afterAll } from 'vitest';
import { RedisBackend, type RedisBackendOptions } from '../src/index.ts';

export { newUuid, outcome, sampleTime as sentAt, sampleWrite as write, until } from '@machinery/services';

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
