// Workers that are killed at each step of a task, a chain, a chord and a retry, on a real Redis.

import process from 'node:process';
import { testFailpoints } from '@machinery/conformance';
import { redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';

const redis = await redisServer();
if (redis !== undefined) process.env.REDIS_TEST_URL = redis.url;
afterAll(() => redis?.stop());

describe.skipIf(redis === undefined)('Redis', () => {
  const adapters = new URL('crashes/adapters.mjs', import.meta.url).href;
  testFailpoints(
    { describe, it, before: beforeAll, after: afterAll },
    { name: 'Redis', adapters, redeliveryMs: 3_000, patienceMs: 20_000 },
  );
});
