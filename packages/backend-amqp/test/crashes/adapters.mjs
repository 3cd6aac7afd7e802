// What the processes of the crash tests work with: broker and backend on the RabbitMQ of AMQP_TEST_URL.

import process from 'node:process';
import { AmqpBackend } from '@machinery/backend-amqp';
import { AmqpBroker } from '@machinery/broker-amqp';

const { AMQP_TEST_URL: url } = process.env;

/** Each crash has a default queue of its own, so it needs a binding key of its own; some acks are held back. */
export const createBroker = (queue) => new AmqpBroker({ url, bindingKey: queue, prefetch: 50 });
export const createBackend = () => new AmqpBackend({ url });
