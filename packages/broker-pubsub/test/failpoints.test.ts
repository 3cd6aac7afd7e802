// Workers that are killed in a task, a chain, a chord and a retry, on the fake with states in Redis: where they have taken, published or acked; at
// each step with MACHINERY_ALL_FAILPOINTS=1. A process that uses Google's library takes twice as long to start as one that does not.

import process from 'node:process';
import { brokerPoints, testFailpoints } from '@machinery/conformance';
import { pubsubServer, redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';

const [pubsub, redis] = [await pubsubServer(), await redisServer()];
if (pubsub !== undefined) process.env.PUBSUB_TEST_HOST = pubsub.host;
if (redis !== undefined) process.env.REDIS_TEST_URL = redis.url;
const all = process.env.MACHINERY_ALL_FAILPOINTS === '1';
afterAll(() => Promise.all([pubsub?.stop(), redis?.stop()]));

describe.skipIf(pubsub === undefined || redis === undefined)('Pub/Sub', () => {
  const adapters = new URL('crashes/adapters.mjs', import.meta.url).href;
  testFailpoints(
    { describe, it, before: beforeAll, after: afterAll },
    {
      name: 'Pub/Sub',
      adapters,
      redeliveryMs: 4_000,
      patienceMs: 30_000,
      concurrency: 8,
      ...(!all && { points: brokerPoints }),
    },
  );
});
