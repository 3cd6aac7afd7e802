// FIFO queues pass the suite, too: each message in a group of its own, without delays and counts, which they do not have.

import { type BrokerUnderTest, testBroker } from '@machinery/conformance';
import type { Broker, ConsumeOptions, Message } from '@machinery/core';
import { sqsServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it, vi } from 'vitest';
import { SqsBroker } from '../src/index.ts';

const sqs = await sqsServer();
afterAll(() => sqs.stop());

/** The broker, all of whose queues are FIFO queues. */
function fifo(broker: SqsBroker): Broker {
  const { pushes = false, maxMessageBytes = 0 } = broker.capabilities;
  const replaced = new Map<PropertyKey, unknown>([
    ['name', 'broker-sqs on FIFO queues'],
    ['capabilities', { pushes, maxMessageBytes, maxDelayMs: 0 }],
    [
      'publish',
      (messages: readonly Message[]) =>
        broker.publish(messages.map((message) => ({ ...message, routingKey: `${message.routingKey}.fifo` }))),
    ],
    ['consume', (options: ConsumeOptions) => broker.consume({ ...options, queue: `${options.queue}.fifo` })],
  ]);
  return new Proxy(broker, {
    get(target, key) {
      const value = replaced.get(key) ?? Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

let groups = 0;
const underTest: BrokerUnderTest = {
  create: () => fifo(new SqsBroker({ url: sqs.url, waitTimeSeconds: 1, visibilityTimeoutSeconds: 5 })),
  declares: { pushes: true, maxMessageBytes: 1_048_576, maxDelayMs: 0 },
  unordered: true,
  deduplicates: true,
  countsRequeues: true,
  patienceMs: 60_000, // a fortieth of which is how long a queue is quiet that counts as empty
  prepareQueue: async (queue) => void (await sqs.createQueue(`${queue}.fifo`)),
  adaptSignature: (signature) => ({ ...signature, brokerMessageGroupId: `group-${++groups}` }),
};

vi.setConfig({ maxConcurrency: 20 });

describe('SqsBroker on FIFO queues', () => {
  testBroker({ describe: describe.concurrent, it, before: beforeAll, after: afterAll }, underTest);
});
