// What @machinery/backend-amqp exports.

export type { AmqpConnectionOptions } from '@machinery/amqp-client';
export { AmqpBackend, type AmqpBackendOptions } from './amqp-backend.ts';
