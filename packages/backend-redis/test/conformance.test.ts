// The backend on a real Redis passes the suites, by itself and with workflows.

import { declaredBackends, overlay, testBackend, testWorkflows } from '@machinery/conformance';
import { MemoryBroker } from '@machinery/core/memory';
import { redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { RedisBackend } from '../src/index.ts';

const runner = { describe: describe.concurrent, it, before: beforeAll, after: afterAll };
const redis = await redisServer();
const url = redis?.url as string;
afterAll(() => redis?.stop());

/** The table of our adapters knows the default, which is to push. */
class PollingBackend extends RedisBackend {
  override readonly name = 'RedisBackend without push';
  constructor() {
    super({ url, push: false });
  }
}

const { '@machinery/backend-redis': declares } = declaredBackends;
describe.skipIf(redis === undefined || declares === undefined)('RedisBackend', () => {
  testBackend(runner, { create: () => new RedisBackend({ url }), declares: declares ?? { storesResults: false } });
});

describe.skipIf(redis === undefined)('RedisBackend without push', () => {
  testBackend(runner, { create: () => new PollingBackend(), declares: { storesResults: true } });
});

describe.skipIf(redis === undefined)('workflows on RedisBackend', () => {
  const broker = new MemoryBroker();
  const createBroker = () => overlay(broker, { close: async () => {} });
  testWorkflows(runner, { createBroker, createBackend: () => new RedisBackend({ url }), runs: 40 });
});
