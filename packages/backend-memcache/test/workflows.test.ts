// Workflows with messages on a real Redis and states on a real memcached, random ones among them; and a large chord, whose workers are killed.

import process from 'node:process';
import { RedisBroker } from '@machinery/broker-redis';
import { testWorkflows } from '@machinery/conformance';
import { redisServer, startMemcached, testLargeChord } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { MemcacheBackend } from '../src/index.ts';
import { stopped } from './setup.ts';

const [redis, memcached] = await Promise.all([redisServer(), startMemcached()]);
stopped(redis);
stopped(memcached);

describe.skipIf(redis === undefined || memcached === undefined)('workflows on Redis and Memcached', () => {
  const [broker, backend] = [redis?.url as string, memcached?.url as string];
  testWorkflows(
    { describe: describe.concurrent, it, before: beforeAll, after: afterAll },
    {
      createBroker: () => new RedisBroker({ url: broker }),
      createBackend: () => new MemcacheBackend({ url: backend }),
      runs: 15,
    },
  );
});

describe.skipIf(redis === undefined || memcached === undefined)(
  'a chord of 1,000 on four workers',
  { timeout: 120_000 },
  () => {
    Object.assign(process.env, { REDIS_TEST_URL: redis?.url, MEMCACHED_TEST_URL: memcached?.url });
    const adapters = new URL('crashes/adapters.mjs', import.meta.url).href;
    testLargeChord(it, adapters);
  },
);
