// The broker on a real Redis passes the suite.

import { declaredBrokers, testBroker } from '@machinery/conformance';
import { redisServer } from '@machinery/services';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { RedisBroker } from '../src/index.ts';

const redis = await redisServer();
const url = redis?.url as string;
const client = redis === undefined ? undefined : new Redis(url);
afterAll(async () => {
  client?.disconnect();
  await redis?.stop();
});

const { '@machinery/broker-redis': declares } = declaredBrokers;
describe.skipIf(redis === undefined || declares === undefined)('RedisBroker', () => {
  testBroker(
    { describe, it, before: beforeAll, after: afterAll },
    {
      create: () => new RedisBroker({ url, leaseMs: 2_000, beatMs: 500, delayedPollMs: 20 }),
      declares: declares ?? {},
      collapsesDelayed: true,
      deadMessages: async (_, queue) =>
        ((await client?.lrange(`{${queue}}:dead`, 0, -1)) ?? []).map(
          (text) => JSON.parse(text) as { body: string; reason: string },
        ),
    },
  );
});
