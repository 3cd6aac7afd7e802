// What each of our own brokers must declare, so that nothing can be declared away: the suite holds every broker whose
// name is here to its line. A change of a line is a change of what users may rely on.

import type { BrokerCapabilities } from '@machinery/core';

/** The capabilities of our brokers, by `broker.name`. */
export const declaredBrokers: Readonly<Record<string, BrokerCapabilities>> = {
  '@machinery/core/memory MemoryBroker': { deliveryCount: true, listPending: true, listDelayed: true },
  '@machinery/core/memory EagerBroker': { eager: true },
  '@machinery/broker-redis': { deliveryCount: true, listPending: true, listDelayed: true },
  // Classic queues do not count deliveries, so that nothing may be promised. A ladder of 14 levels with base 4 covers 2^32 ms in units of
  // 16 ms, and what is published is rounded up to one. Messages are listed by getting them and giving them back.
  '@machinery/broker-amqp': { priority: true, pushes: true, listPending: true, maxDelayMs: 2 ** 32 - 17 },
  // A mebibyte a message since August 2025. Each receive is counted, by ApproximateReceiveCount, so that nothing may be taken ahead. What is
  // due in more than 15 minutes hops through a queue of its own, as often as it must.
  '@machinery/broker-sqs': { deliveryCount: true, pushes: true, maxMessageBytes: 1_048_576 },
  // A request has ten megabytes: attributes, an ordering key and the topic's name are left room. Workers hold what is delayed. Deliveries
  // are counted only with a dead-letter policy, and there with what is given back, so that nothing may be taken ahead.
  '@machinery/broker-pubsub': { pushes: true, maxMessageBytes: 9_990_000 },
};

/** The limits that a broker's options may tighten: MemoryBroker's own, SQS without a queue for hops, a RabbitMQ with `max_message_size`. */
export const limitsByOption: Readonly<
  Record<string, readonly ('maxDelayMs' | 'maxMessageBytes' | 'maxPublishBatch')[]>
> = {
  '@machinery/core/memory MemoryBroker': ['maxDelayMs', 'maxMessageBytes'],
  '@machinery/broker-amqp': ['maxMessageBytes'],
  '@machinery/broker-sqs': ['maxDelayMs', 'maxMessageBytes'],
};
