// Workers that are killed in a task, a chain, a chord and a retry, on SQS with states in Redis: where they have taken, published or
// acked; at each step with MACHINERY_ALL_FAILPOINTS=1. Each waits for two seconds until messages are visible again.

import process from 'node:process';
import { brokerPoints, testFailpoints } from '@machinery/conformance';
import { redisServer, sqsServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';

const [sqs, redis] = await Promise.all([sqsServer(), redisServer()]);
process.env.SQS_TEST_URL = sqs.url;
if (redis !== undefined) process.env.REDIS_TEST_URL = redis.url;
const all = process.env.MACHINERY_ALL_FAILPOINTS === '1';
afterAll(() => Promise.all([sqs.stop(), redis?.stop()]));

describe.skipIf(redis === undefined)('SQS', () => {
  const adapters = new URL('crashes/adapters.mjs', import.meta.url).href;
  testFailpoints(
    { describe, it, before: beforeAll, after: afterAll },
    {
      name: 'SQS',
      adapters,
      redeliveryMs: 3_000,
      patienceMs: 30_000,
      concurrency: 6,
      ...(!all && { points: brokerPoints }),
    },
  );
});
