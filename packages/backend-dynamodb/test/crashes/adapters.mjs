// What the processes of the crash tests work with: messages on the Redis of REDIS_TEST_URL, states on the DynamoDB of
// DYNAMODB_TEST_ENDPOINT. Leases are short, so that the dead are found soon.

import process from 'node:process';
import { DynamoBackend } from '@machinery/backend-dynamodb';
import { RedisBroker } from '@machinery/broker-redis';

const { REDIS_TEST_URL: url, DYNAMODB_TEST_ENDPOINT: endpoint } = process.env;
const leaseMs = Number(process.env.TEST_LEASE_MS ?? 1_000);

export const createBroker = () => new RedisBroker({ url, leaseMs, beatMs: leaseMs / 5, delayedPollMs: 20 });
export const createBackend = () => new DynamoBackend({ endpoint, createTables: true });
