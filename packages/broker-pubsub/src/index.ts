// What @machinery/broker-pubsub exports.

export type { PubSubBrokerOptions } from './options.ts';
export { PubSubBroker } from './pubsub-broker.ts';
