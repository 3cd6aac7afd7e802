// Workers that are killed in a task, a chain, a chord and a retry, on a real RabbitMQ with states in Redis: where they have taken, published or
// acked; at each step with MACHINERY_ALL_FAILPOINTS=1.

import process from 'node:process';
import { brokerPoints, testFailpoints } from '@machinery/conformance';
import { rabbitServer, redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';

const [rabbit, redis] = [await rabbitServer(), await redisServer()];
if (rabbit !== undefined) process.env.AMQP_TEST_URL = rabbit.url;
if (redis !== undefined) process.env.REDIS_TEST_URL = redis.url;
const all = process.env.MACHINERY_ALL_FAILPOINTS === '1';
afterAll(() => Promise.all([rabbit?.stop(), redis?.stop()]));

describe.skipIf(rabbit === undefined || redis === undefined)('RabbitMQ', () => {
  const adapters = new URL('crashes/adapters.mjs', import.meta.url).href;
  testFailpoints(
    { describe, it, before: beforeAll, after: afterAll },
    { name: 'RabbitMQ', adapters, redeliveryMs: 3_000, patienceMs: 20_000, ...(!all && { points: brokerPoints }) },
  );
});
