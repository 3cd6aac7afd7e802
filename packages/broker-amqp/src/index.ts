// What @machinery/broker-amqp exports.

export type { AmqpConnectionOptions } from '@machinery/amqp-client';
export { AmqpBroker } from './amqp-broker.ts';
export type { AmqpBrokerOptions, AmqpQueueOptions } from './options.ts';
