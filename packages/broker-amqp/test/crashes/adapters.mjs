// What the processes of the crash tests work with: the broker on the RabbitMQ of AMQP_TEST_URL, states in the Redis of REDIS_TEST_URL.

import process from 'node:process';
import { RedisBackend } from '@machinery/backend-redis';
import { AmqpBroker } from '@machinery/broker-amqp';

const { AMQP_TEST_URL, REDIS_TEST_URL } = process.env;

/** Each crash has a default queue of its own, so it needs a binding key of its own; some acks are held back. */
export const createBroker = (queue) => new AmqpBroker({ url: AMQP_TEST_URL, bindingKey: queue, prefetch: 50 });
export const createBackend = () => new RedisBackend({ url: REDIS_TEST_URL });
