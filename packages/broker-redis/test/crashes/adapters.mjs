// What the processes of the crash tests work with: broker and backend on the Redis of REDIS_TEST_URL. Leases are short, so that
// the dead are found soon.

import process from 'node:process';
import { RedisBackend } from '@machinery/backend-redis';
import { RedisBroker } from '@machinery/broker-redis';

const { REDIS_TEST_URL: url } = process.env;

export const createBroker = () => new RedisBroker({ url, leaseMs: 1_000, beatMs: 200, delayedPollMs: 20 });
export const createBackend = () => new RedisBackend({ url });
