// Workflows on SQS, with states in Redis.

import { RedisBackend } from '@machinery/backend-redis';
import { testWorkflows } from '@machinery/conformance';
import { redisServer, sqsServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { SqsBroker } from '../src/index.ts';
import { hasty } from './setup.ts';

const [sqs, redis] = await Promise.all([sqsServer(), redisServer()]);
afterAll(() => Promise.all([sqs.stop(), redis?.stop()]));

describe.skipIf(redis === undefined)('workflows on SQS and Redis', () => {
  testWorkflows(
    { describe: describe.concurrent, it, before: beforeAll, after: afterAll },
    {
      createBroker: () => hasty(new SqsBroker({ url: sqs.url, waitTimeSeconds: 1 })),
      createBackend: () => new RedisBackend({ url: redis?.url as string }),
      prepareQueue: async (queue) => void (await sqs.createQueue(queue)),
      runs: 15,
    },
  );
});
