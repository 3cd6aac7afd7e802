// What the processes of the crash tests work with: the broker on the Redis of REDIS_TEST_URL, the backend on the memcached of
// MEMCACHED_TEST_URL. Leases are short, so that the dead are found soon.

import process from 'node:process';
import { MemcacheBackend } from '@machinery/backend-memcache';
import { RedisBroker } from '@machinery/broker-redis';

const { REDIS_TEST_URL: broker, MEMCACHED_TEST_URL: backend } = process.env;
const leaseMs = Number(process.env.TEST_LEASE_MS ?? 1_000);

export const createBroker = () => new RedisBroker({ url: broker, leaseMs, beatMs: leaseMs / 5, delayedPollMs: 20 });
export const createBackend = () => new MemcacheBackend({ url: backend });
