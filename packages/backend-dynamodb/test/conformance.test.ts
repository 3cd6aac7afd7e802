// The backend on DynamoDB passes the suite of backends.

import { declaredBackends, testBackend } from '@machinery/conformance';
import { dynamoServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { DynamoBackend } from '../src/index.ts';
import { open, stopped } from './setup.ts';

const { endpoint } = stopped(await dynamoServer());
await open({ endpoint }).read(['creates the tables']);

const { '@machinery/backend-dynamodb': declares = { storesResults: false } } = declaredBackends;

describe('DynamoBackend', () => {
  testBackend(
    { describe: describe.concurrent, it, before: beforeAll, after: afterAll },
    // What expires does so with a whole second.
    { create: () => new DynamoBackend({ endpoint }), declares, expiryLagMs: 1_000, patienceMs: 20_000 },
  );
});
