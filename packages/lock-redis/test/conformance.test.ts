// The lock on a real Redis passes the suite.

import { testLock } from '@machinery/conformance';
import { redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { RedisLock } from '../src/index.ts';

const redis = await redisServer();
afterAll(() => redis?.stop());

describe.skipIf(redis === undefined)('RedisLock', () => {
  testLock(
    { describe, it, before: beforeAll, after: afterAll },
    { create: () => new RedisLock({ url: redis?.url as string }) },
  );
});
