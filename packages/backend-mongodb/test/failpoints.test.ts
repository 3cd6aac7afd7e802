// Workers that are killed at each step of a task, a chain, a chord and a retry, with messages on a Redis and states on a MongoDB.

import process from 'node:process';
import { backendPoints, testFailpoints } from '@machinery/conformance';
import { mongoServer, redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';

const [redis, mongo] = [await redisServer(), await mongoServer()];
const isThere = redis !== undefined && mongo !== undefined;
if (isThere) Object.assign(process.env, { REDIS_TEST_URL: redis.url, MONGODB_TEST_URL: mongo.url });
const all = process.env.MACHINERY_ALL_FAILPOINTS === '1';
afterAll(() => Promise.all([redis?.stop(), mongo?.stop()]));

describe.skipIf(!isThere)('Redis and MongoDB', () => {
  const adapters = new URL('crashes/adapters.mjs', import.meta.url).href;
  testFailpoints(
    { describe, it, before: beforeAll, after: afterAll },
    {
      name: 'Redis and MongoDB',
      adapters,
      redeliveryMs: 3_000,
      patienceMs: 20_000,
      ...(!all && { points: backendPoints }),
    },
  );
});
