// The broker on Google's fake passes the suite. Its cases mostly wait: they run beside each other.

import { declaredBrokers, testBroker } from '@machinery/conformance';
import type { Broker } from '@machinery/core';
import { pubsubServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { PubSubBroker } from '../src/index.ts';
import { Admin, at } from './setup.ts';

const pubsub = await pubsubServer();
const admin = pubsub && new Admin(pubsub.host);
afterAll(async () => {
  await admin?.close();
  await pubsub?.stop();
});

async function prepareQueue(queue: string): Promise<void> {
  await Promise.all([admin?.create(queue, { ackDeadlineSeconds: 4 }), admin?.create(`${queue}.dead`)]);
}

async function removeQueue(queue: string): Promise<void> {
  await Promise.all([admin?.remove(queue), admin?.remove(`${queue}.dead`)]);
}

async function deadMessages(_: Broker, queue: string) {
  const dead = (await admin?.take(`${queue}.dead`)) ?? [];
  return dead.map(({ data, attributes }) => ({
    body: String(data),
    reason: attributes?.['machinery-dead-reason'] as string,
  }));
}

describe.skipIf(admin === undefined)('PubSubBroker', () => {
  testBroker(
    { describe: describe.concurrent, it, before: beforeAll, after: afterAll },
    {
      create: () => new PubSubBroker({ ...at(pubsub?.host as string), leaseSeconds: 4 }),
      declares: declaredBrokers['@machinery/broker-pubsub'] ?? {},
      prepareQueue,
      deadMessages,
      removeQueue,
      unordered: true,
      countsRequeues: true,
      redeliveryMs: 6_000,
      patienceMs: 5_000, // an unordered queue that is quiet for a fortieth of it is empty
    },
  );
});
