// The backend on a MongoDB passes the suite of workflows.

import { overlay, testWorkflows } from '@machinery/conformance';
import { MemoryBroker } from '@machinery/core/memory';
import { mongoServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { MongoBackend } from '../src/index.ts';

const runner = { describe: describe.concurrent, it, before: beforeAll, after: afterAll };
const mongo = await mongoServer();
const url = mongo?.url as string;
afterAll(() => mongo?.stop());

describe.skipIf(mongo === undefined)('workflows on MongoBackend', () => {
  const broker = new MemoryBroker();
  const createBroker = () => overlay(broker, { close: async () => {} });
  testWorkflows(runner, {
    createBroker,
    createBackend: () => new MongoBackend({ url, database: 'workflows' }),
    runs: 15,
  });
});
