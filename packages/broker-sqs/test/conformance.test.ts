// The broker on SQS (an emulator, or SQS_URL) passes the suite: on standard queues with a queue for long delays.

import { GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { type BrokerUnderTest, declaredBrokers, testBroker } from '@machinery/conformance';
import { sqsServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it, vi } from 'vitest';
import { SqsBroker } from '../src/index.ts';
import { receive } from './setup.ts';

const sqs = await sqsServer();
const { url } = sqs;
const client = new SQSClient({ endpoint: new URL(url).origin });
const delayQueue = `conformance-delayed-${process.pid}`;
await sqs.createQueue(delayQueue);
afterAll(async () => {
  client.destroy();
  await sqs.stop();
});

/** The dead messages of each queue are in a queue of their own. */
async function prepareQueue(queue: string): Promise<void> {
  const QueueUrl = await sqs.createQueue(`${queue}-dead`);
  const { Attributes } = await client.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['QueueArn'] }));
  const policy = { deadLetterTargetArn: Attributes?.QueueArn, maxReceiveCount: 100 };
  await sqs.createQueue(queue, { RedrivePolicy: JSON.stringify(policy) });
}

async function deadMessages(_: unknown, queue: string) {
  const records: { body: string; reason: string }[] = [];
  for (;;) {
    const message = await receive(client, `${url}/${queue}-dead`, 0);
    if (message === undefined) return records;
    const reason = message.MessageAttributes?.['machinery-dead-reason']?.StringValue as string;
    records.push({ body: message.Body as string, reason });
  }
}

const underTest: BrokerUnderTest = {
  create: () => new SqsBroker({ url, delayQueue, waitTimeSeconds: 1, visibilityTimeoutSeconds: 5 }),
  declares: declaredBrokers['@machinery/broker-sqs'] ?? {},
  unordered: true,
  patienceMs: 30_000, // a fortieth of which is how long a queue is quiet that counts as empty
  countsRequeues: true,
  prepareQueue,
  deadMessages,
};

vi.setConfig({ maxConcurrency: 20 }); // they wait for their last receive to end

describe('SqsBroker', () => {
  testBroker({ describe: describe.concurrent, it, before: beforeAll, after: afterAll }, underTest);
});
