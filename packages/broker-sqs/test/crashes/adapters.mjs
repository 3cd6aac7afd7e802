// What the processes of the crash tests work with: the broker on the SQS of SQS_TEST_URL, states in the Redis of REDIS_TEST_URL.

import process from 'node:process';
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs';
import { RedisBackend } from '@machinery/backend-redis';
import { SqsBroker } from '@machinery/broker-sqs';

const { SQS_TEST_URL: url, REDIS_TEST_URL } = process.env;

export async function prepareQueue(queue) {
  const client = new SQSClient({ endpoint: new URL(url).origin });
  await client.send(new CreateQueueCommand({ QueueName: queue }));
  client.destroy();
}
/** Some acks are held back, and must not keep it from taking. */
class CrashingBroker extends SqsBroker {
  consume(options) {
    return super.consume({ ...options, maxInHand: 50 });
  }
}

export const createBroker = () => new CrashingBroker({ url, waitTimeSeconds: 1, visibilityTimeoutSeconds: 2 });
export const createBackend = () => new RedisBackend({ url: REDIS_TEST_URL });
