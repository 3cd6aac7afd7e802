// What the processes of the crash tests work with: the broker on the fake of PUBSUB_TEST_HOST, states in the Redis of REDIS_TEST_URL.

import process from 'node:process';
import { PubSub, v1 } from '@google-cloud/pubsub';
import { RedisBackend } from '@machinery/backend-redis';
import { PubSubBroker } from '@machinery/broker-pubsub';

const { PUBSUB_TEST_HOST, REDIS_TEST_URL } = process.env;
const projectId = 'machinery-tests';
const clientOptions = { universeDomain: 'googleapis.com' };
const clientConfig = { apiEndpoint: PUBSUB_TEST_HOST, emulatorMode: true, clientOptions };

/** Some acks are held back, and more is taken all the same. */
export function createBroker() {
  const broker = new PubSubBroker({ projectId, clientConfig, leaseSeconds: 2 });
  const consume = broker.consume.bind(broker);
  broker.consume = (options) => consume({ ...options, maxInHand: 50 });
  return broker;
}

export const createBackend = () => new RedisBackend({ url: REDIS_TEST_URL });

/** With leases of two seconds from the start. */
export async function prepareQueue(queue) {
  const config = await new PubSub({ projectId, ...clientConfig }).getClientConfig();
  const [publisher, subscriber] = [new v1.PublisherClient(config), new v1.SubscriberClient(config)];
  const topic = `projects/${projectId}/topics/${queue}`;
  const name = `projects/${projectId}/subscriptions/${queue}`;
  await publisher.createTopic({ name: topic });
  await subscriber.createSubscription({ name, topic, ackDeadlineSeconds: 2 });
  await Promise.all([publisher.close(), subscriber.close()]);
}
