// Workers that are killed where they have written to the backend (with MACHINERY_ALL_FAILPOINTS=1 at each step of what they do), on a real Redis that has the messages and a DynamoDB that has the states.

import process from 'node:process';
import { backendPoints, testFailpoints } from '@machinery/conformance';
import { dynamoServer, redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';

const redis = await redisServer();
const dynamo = redis && (await dynamoServer());
if (redis !== undefined) process.env.REDIS_TEST_URL = redis.url;
if (dynamo !== undefined) process.env.DYNAMODB_TEST_ENDPOINT = dynamo.endpoint;
const all = process.env.MACHINERY_ALL_FAILPOINTS === '1';
afterAll(() => Promise.all([redis?.stop(), dynamo?.stop()]));

describe.skipIf(dynamo === undefined)('DynamoDB', () => {
  const adapters = new URL('crashes/adapters.mjs', import.meta.url).href;
  testFailpoints(
    { describe, it, before: beforeAll, after: afterAll },
    { name: 'DynamoDB', adapters, redeliveryMs: 3_000, patienceMs: 20_000, ...(!all && { points: backendPoints }) },
  );
});
