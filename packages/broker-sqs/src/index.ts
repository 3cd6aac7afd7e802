// What @machinery/broker-sqs exports.

export type { SqsBrokerOptions } from './options.ts';
export { SqsBroker } from './sqs-broker.ts';
