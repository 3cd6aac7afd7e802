// Servers and connections of the tests here, which are closed when a test file is over.

import { type RedisServer, type RedisServerOptions, type StartedRedis, startRedis } from '@machinery/services';
import { afterAll } from 'vitest';
import { connectRedis, type RedisConnection, type RedisConnectionOptions, redisError } from '../src/index.ts';

const servers: RedisServer[] = [];
const connections: RedisConnection[] = [];
afterAll(async () => {
  await Promise.all(connections.map((connection) => connection.close()));
  await Promise.all(servers.map((server) => server.stop()));
});

/** Stops it with the tests. */
export function stopped<S extends RedisServer>(server: S | undefined): S | undefined {
  if (server !== undefined) servers.push(server);
  return server;
}

/** Only where there is a Redis. */
export async function redis(options?: RedisServerOptions): Promise<StartedRedis> {
  return stopped(await startRedis(options)) as StartedRedis;
}

export function open(options: RedisConnectionOptions): RedisConnection {
  const connection = connectRedis('Test', options);
  connections.push(connection);
  return connection;
}

/** What a command came to, as core would see it: its answer or the code of its error, and how long it took. */
export async function outcome(command: Promise<unknown>) {
  const from = performance.now();
  const end = (come: { answer?: unknown; code?: string; message?: string }) => ({
    ...come,
    tookMs: performance.now() - from,
  });
  try {
    return end({ answer: await command });
  } catch (error) {
    const { code, message } = redisError('backend', 'do it', error);
    return end({ code, message });
  }
}

/** Asks until it answers what is expected, for ten seconds. */
export async function until<T>(ask: () => Promise<T>, expected: T): Promise<void> {
  const from = performance.now();
  for (;;) {
    const last: unknown = await ask().catch((error: Error) => error);
    if (last === expected) return;
    if (performance.now() - from > 10_000) throw new Error(`Expected ${String(expected)}, got ${String(last)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
