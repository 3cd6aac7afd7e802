// Workers that are killed where they have written to the backend (with MACHINERY_ALL_FAILPOINTS=1 at each step of what they do), on a real RabbitMQ that has the messages and the states.

import process from 'node:process';
import { backendPoints, testFailpoints } from '@machinery/conformance';
import { rabbitServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';

const rabbit = await rabbitServer();
if (rabbit !== undefined) process.env.AMQP_TEST_URL = rabbit.url;
const all = process.env.MACHINERY_ALL_FAILPOINTS === '1';
afterAll(() => rabbit?.stop());

describe.skipIf(rabbit === undefined)('RabbitMQ', () => {
  const adapters = new URL('crashes/adapters.mjs', import.meta.url).href;
  testFailpoints(
    { describe, it, before: beforeAll, after: afterAll },
    { name: 'RabbitMQ', adapters, redeliveryMs: 3_000, patienceMs: 20_000, ...(!all && { points: backendPoints }) },
  );
});
