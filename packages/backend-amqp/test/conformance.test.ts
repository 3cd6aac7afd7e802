// The backend on a real RabbitMQ passes the suites, by itself and with workflows.

import { AmqpBroker } from '@machinery/broker-amqp';
import { declaredBackends, testBackend, testWorkflows } from '@machinery/conformance';
import { rabbitServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { AmqpBackend } from '../src/index.ts';

const runner = { describe: describe.concurrent, it, before: beforeAll, after: afterAll };
const rabbit = await rabbitServer();
const url = rabbit?.url as string;
afterAll(() => rabbit?.stop());

const { '@machinery/backend-amqp': declares = { storesResults: false } } = declaredBackends;

describe.skipIf(rabbit === undefined)('AmqpBackend', () => {
  testBackend(runner, { create: () => new AmqpBackend({ url }), declares, patienceMs: 20_000 });
});

describe.skipIf(rabbit === undefined)('workflows on RabbitMQ alone', () => {
  /** Each case has a default queue of its own, so it needs a binding key of its own. */
  const createBroker = (queue: string) => new AmqpBroker({ url, bindingKey: queue });
  testWorkflows(runner, { createBroker, createBackend: () => new AmqpBackend({ url }), takesGroups: true, runs: 15 });
});
