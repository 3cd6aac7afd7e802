// Workflows on a broker and a backend that share a real Redis.

import { RedisBackend } from '@machinery/backend-redis';
import { testWorkflows } from '@machinery/conformance';
import { redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { RedisBroker } from '../src/index.ts';

const redis = await redisServer();
const url = redis?.url as string;
afterAll(() => redis?.stop());

const runner = { describe: describe.concurrent, it, before: beforeAll, after: afterAll };

describe.skipIf(redis === undefined)('workflows on Redis', () => {
  testWorkflows(runner, {
    createBroker: () => new RedisBroker({ url }),
    createBackend: () => new RedisBackend({ url }),
    runs: 40,
  });
});
