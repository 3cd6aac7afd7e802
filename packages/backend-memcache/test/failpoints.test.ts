// Workers that are killed where they have written to the backend (with MACHINERY_ALL_FAILPOINTS=1 at each step of what they do), with messages on a real Redis and states on a real memcached.

import process from 'node:process';
import { backendPoints, testFailpoints } from '@machinery/conformance';
import { redisServer, startMemcached } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { stopped } from './setup.ts';

const [redis, memcached] = await Promise.all([redisServer(), startMemcached()]);
stopped(redis);
stopped(memcached);
if (redis !== undefined) process.env.REDIS_TEST_URL = redis.url;
if (memcached !== undefined) process.env.MEMCACHED_TEST_URL = memcached.url;

const all = process.env.MACHINERY_ALL_FAILPOINTS === '1';

describe.skipIf(redis === undefined || memcached === undefined)('Redis and Memcached', () => {
  const adapters = new URL('crashes/adapters.mjs', import.meta.url).href;
  testFailpoints(
    { describe, it, before: beforeAll, after: afterAll },
    { name: 'Memcached', adapters, redeliveryMs: 3_000, patienceMs: 20_000, ...(!all && { points: backendPoints }) },
  );
});
