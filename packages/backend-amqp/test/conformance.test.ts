// The backend on a real RabbitMQ passes the suites, by itself and with workflows.

import { declaredBackends, testBackend, testWorkflows } from '@machinery/conformance';
import { MemoryBroker } from '@machinery/core/memory';
import { rabbitServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { AmqpBackend } from '../src/index.ts';

const runner = { describe, it, before: beforeAll, after: afterAll };
const rabbit = await rabbitServer();
const url = rabbit?.url as string;
afterAll(() => rabbit?.stop());

const { '@machinery/backend-amqp': declares = { storesResults: false } } = declaredBackends;

describe.skipIf(rabbit === undefined)('AmqpBackend', () => {
  testBackend(runner, { create: () => new AmqpBackend({ url }), declares, patienceMs: 20_000 });
});

describe.skipIf(rabbit === undefined)('workflows on AmqpBackend', () => {
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
  testWorkflows(runner, { createBroker, createBackend: () => new AmqpBackend({ url }), chords: false, runs: 40 });
});
