// Workflows on a real RabbitMQ, with states in Redis.

import { RedisBackend } from '@machinery/backend-redis';
import { testWorkflows } from '@machinery/conformance';
import { rabbitServer, redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { AmqpBroker } from '../src/index.ts';

const [rabbit, redis] = [await rabbitServer(), await redisServer()];
const url = rabbit?.url as string;
afterAll(() => Promise.all([rabbit?.stop(), redis?.stop()]));

const runner = { describe: describe.concurrent, it, before: beforeAll, after: afterAll };
/** Each case has a default queue of its own, so it needs a binding key of its own. */
const createBroker = (queue: string) => new AmqpBroker({ url, bindingKey: queue });

describe.skipIf(rabbit === undefined || redis === undefined)('workflows on RabbitMQ and Redis', () => {
  testWorkflows(runner, {
    createBroker,
    createBackend: () => new RedisBackend({ url: redis?.url as string }),
    runs: 15,
  });
});
