// The backend on DynamoDB passes the suite of workflows.

import { overlay, testWorkflows } from '@machinery/conformance';
import { MemoryBroker } from '@machinery/core/memory';
import { dynamoServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { DynamoBackend } from '../src/index.ts';
import { counted, open, stopped } from './setup.ts';

const { endpoint } = stopped(await dynamoServer());
await open({ endpoint }).read(['creates the tables']);
/** A client for each of hundreds of workers would be most of the work. */
const { client } = counted(endpoint);

describe('workflows on DynamoBackend', () => {
  const broker = new MemoryBroker();
  const createBroker = () => overlay(broker, { close: async () => {} });
  testWorkflows(
    { describe: describe.concurrent, it, before: beforeAll, after: afterAll },
    { createBroker, createBackend: () => new DynamoBackend({ client }), runs: 15, patienceMs: 20_000 },
  );
});
