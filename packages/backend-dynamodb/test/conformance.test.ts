// The backend on DynamoDB passes the suites, by itself and with workflows.

import { declaredBackends, testBackend, testWorkflows } from '@machinery/conformance';
import { MemoryBroker } from '@machinery/core/memory';
import { dynamoServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { DynamoBackend } from '../src/index.ts';

const runner = { describe, it, before: beforeAll, after: afterAll };
const dynamo = await dynamoServer();
const { endpoint } = dynamo;
const createBackend = () => new DynamoBackend({ endpoint, createTables: true });
afterAll(() => dynamo.stop());

const { '@machinery/backend-dynamodb': declares = { storesResults: false } } = declaredBackends;

describe('DynamoBackend', () => {
  // What expires does so with a whole second.
  testBackend(runner, { create: createBackend, declares, expiryLagMs: 1_000, patienceMs: 20_000 });
});

describe('workflows on DynamoBackend', () => {
  const broker = new MemoryBroker();
  // A connection to a broker that others use, too.
  const createBroker = () =>
    new Proxy(broker, {
      get(target, key) {
        if (key === 'close') return async () => {};
        const member: unknown = Reflect.get(target, key, target);
        return typeof member === 'function' ? member.bind(target) : member;
      },
    });
  testWorkflows(runner, { createBroker, createBackend, runs: 15, patienceMs: 20_000 });
});
