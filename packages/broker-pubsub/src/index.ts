// What @machinery/broker-pubsub exports.

export type { PubSubBrokerOptions, PubSubClient, PubSubClientConfig } from './options.ts';
export { PubSubBroker } from './pubsub-broker.ts';
