// The brokers of a soak, by what their workers are told.

import { AmqpBroker, type AmqpBrokerOptions } from '@machinery/broker-amqp';
import { RedisBroker, type RedisBrokerOptions } from '@machinery/broker-redis';
import type { Broker } from '@machinery/core';

/** As JSON for processes. */
export type BrokerConfig = { readonly redis: RedisBrokerOptions } | { readonly amqp: AmqpBrokerOptions };

export function newBroker(config: BrokerConfig): Broker {
  return 'redis' in config ? new RedisBroker(config.redis) : new AmqpBroker(config.amqp);
}
