// Workflows on the fake, with states in Redis.

import { RedisBackend } from '@machinery/backend-redis';
import { testWorkflows } from '@machinery/conformance';
import { pubsubServer, redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { PubSubBroker } from '../src/index.ts';
import { Admin, at } from './setup.ts';

const [pubsub, redis] = [await pubsubServer(), await redisServer()];
const admin = pubsub && new Admin(pubsub.host);
afterAll(async () => {
  await admin?.close();
  await Promise.all([pubsub?.stop(), redis?.stop()]);
});

describe.skipIf(pubsub === undefined || redis === undefined)('workflows on Pub/Sub and Redis', () => {
  testWorkflows(
    { describe: describe.concurrent, it, before: beforeAll, after: afterAll },
    {
      createBroker: () => new PubSubBroker({ ...at(pubsub?.host as string), leaseSeconds: 60 }),
      createBackend: () => new RedisBackend({ url: redis?.url as string }),
      prepareQueue: async (queue) => admin?.create(queue, { ackDeadlineSeconds: 60 }),
      runs: 15,
    },
  );
});
