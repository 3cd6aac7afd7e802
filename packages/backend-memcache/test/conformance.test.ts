// The backend passes the suite on one real memcached, and on three of them.

import { declaredBackends, testBackend } from '@machinery/conformance';
import { memcachedServer, startMemcached } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { keyProblem } from '../src/commands.ts';
import { MemcacheBackend } from '../src/index.ts';
import { stopped } from './setup.ts';

const runner = { describe: describe.concurrent, it, before: beforeAll, after: afterAll };
const [one, second, third] = await Promise.all([memcachedServer(), startMemcached(), startMemcached()]);
for (const server of [one, second, third]) stopped(server);

const { '@machinery/backend-memcache': declares = { storesResults: false } } = declaredBackends;
const cannotBeKey = (taskUuid: string) => keyProblem(taskUuid) !== undefined;
/** Items live two seconds longer, and die with a tick of the server's clock. */
const expiryLagMs = 3_200;

describe.skipIf(one === undefined)('MemcacheBackend', () => {
  const url = one?.url as string;
  testBackend(runner, { create: () => new MemcacheBackend({ url }), declares, expiryLagMs, cannotBeKey });
});

describe.skipIf(one === undefined || second === undefined)('MemcacheBackend on three servers', () => {
  const hosts = [one, second, third].map((server) => server?.url.replace('memcache://', ''));
  const url = `memcache://${hosts.join(',')}`;
  const maxStateBytes = 100_000;
  const limitsByOptions = { maxStateBytes, maxGroupSize: 2_000 };
  testBackend(runner, {
    create: () => new MemcacheBackend({ url, maxStateBytes }),
    declares: { ...declares, ...limitsByOptions },
    limitsByOptions,
    expiryLagMs,
    cannotBeKey,
  });
});
