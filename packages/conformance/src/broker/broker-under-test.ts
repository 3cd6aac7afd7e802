// What the suite must know of the broker that it is run on. Capabilities are the adapter's; what is said here beside
// them is what a transport cannot keep of the contract (its traits), and what only its own tests can do.

import type { Broker, BrokerCapabilities, Signature } from '@machinery/core';

/** A dead message, as the adapter's own means show it. */
export interface DeadRecord {
  readonly body: string;
  /** Absent where the transport has no place for it. */
  readonly reason?: string;
}

/** A broker to be tested. */
export interface BrokerUnderTest {
  /** A new broker on the same server, each time it is called. The suite closes what it made. */
  create(): Broker | Promise<Broker>;
  /** What the adapter must declare: its capabilities must equal this. */
  readonly declares: BrokerCapabilities;

  /**
   * Creates what the transport wants to exist before a queue is used (a topic, a subscription). Where it is given,
   * queues do not come into being by themselves, and one that was not prepared must be refused for good.
   */
  prepareQueue?(queue: string): Promise<void>;
  /** Called for each queue after its case, for servers that are not thrown away after the tests. */
  removeQueue?(queue: string): Promise<void>;
  /** Adds what the transport wants in every signature, `brokerMessageGroupId` say. */
  adaptSignature?(signature: Signature): Signature;
  /**
   * Ends a broker as a crash of its process would: without giving anything back. Absent: cases about it close the
   * consumer instead (adapters crash for real in the failpoint harness). A crashed broker is not closed by the suite.
   */
  crash?(broker: Broker): Promise<void>;
  /** The dead messages of a queue, oldest first. Absent: only that they are never delivered again is tested. */
  deadMessages?(broker: Broker, queue: string): Promise<readonly DeadRecord[]>;

  /** How long the messages of a consumer that vanished may take to be delivered again, in milliseconds. Default: 30,000. */
  readonly redeliveryMs?: number;
  /** How long any other step may take, in milliseconds. Default: 10,000. */
  readonly patienceMs?: number;

  /** Trait: the messages live in the broker object. Each `create` is a server of its own; cases that need two brokers use one, or are skipped. */
  readonly inProcess?: boolean;
  /** Trait: queues have no order, neither a front nor an end (SQS standard queues, Pub/Sub). */
  readonly unordered?: boolean;
  /** Trait: the server takes what is requeued for a delivery: it is counted where it counts, and redelivered (AMQP, SQS, Pub/Sub). */
  readonly countsRequeues?: boolean;
  /** Trait: it cannot tell a first delivery from a later one, so that all are `redelivered` (Pub/Sub without dead lettering). */
  readonly flagsFirstDeliveries?: boolean;
  /** Trait: the server swallows a message with the UUID of one that was published shortly before (SQS FIFO queues). */
  readonly deduplicates?: boolean;
  /** Trait: delayed messages with the same body and time are one (Redis, where they are members of Go's sorted set). */
  readonly collapsesDelayed?: boolean;
}
