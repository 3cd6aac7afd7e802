// The broker on a real Redis passes the suite.

import { redisServer } from '@machinery/services';
import { Redis } from 'ioredis';
import { afterAll, describe } from 'vitest';
import { passesTheSuite } from './setup.ts';

const redis = await redisServer();
const url = redis?.url as string;
const client = redis === undefined ? undefined : new Redis(url);
afterAll(async () => {
  client?.disconnect();
  await redis?.stop();
});

describe.skipIf(redis === undefined)('RedisBroker', () => passesTheSuite(url, client));
