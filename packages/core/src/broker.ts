// The contract of a broker: publish messages, and consume a queue in batches where settling what is done rides along
// with taking more. An adapter is transport only; slots, unknown tasks, retries and broken messages are core's.

import type { ContractVersion } from './contract-version.ts';
import type { Logger } from './logger.ts';
import type { Outcome } from './outcome.ts';
import type { Signature } from './signature.ts';

/** A message to publish. `body` is the encoded signature and is sent as it is. */
export interface Message {
  readonly body: string;
  /** The queue (on AMQP: the routing key), never empty. */
  readonly routingKey: string;
  /** Deliver not before this time, Unix milliseconds. Absent: at once. A time that has passed means at once. */
  readonly dueAtMs?: number;
  /** The decoded body, for what a transport needs of it: uuid, headers, priority, brokerMessageGroupId. */
  readonly signature: Signature;
}

/** A message in a consumer's hands. Adapters hand out objects of their own that also hold what settling needs. */
export interface Delivery {
  readonly body: string;
  /** Its task may have begun before: a consumer did not settle it, or requeued it as `begun`. */
  readonly redelivered: boolean;
  /** How many times it was handed out without being settled, this time included; absent where the broker does not count. */
  readonly deliveryCount?: number;
  /** SQS: the receipt handle, put into the signature. */
  readonly receiptHandle?: string;
}

/** What becomes of a delivery. */
export type Settlement<D extends Delivery = Delivery> =
  /** Done: the message is gone for good. */
  | { readonly kind: 'ack'; readonly delivery: D }
  /**
   * Back into the queue: to its old place (`front`) what this worker will not run, to the end (`back`), or due after
   * `delayMs` milliseconds, what another worker should have. Not counted as a delivery where the broker lets one choose.
   * `begun`: its task had begun, so the next delivery is `redelivered`. Brokers that have no end to put it to may ignore `position`.
   */
  | {
      readonly kind: 'requeue';
      readonly delivery: D;
      readonly position: 'front' | 'back';
      readonly delayMs?: number;
      readonly begun?: boolean;
    }
  /** To the queue's bounded list of dead messages, with the reason. */
  | { readonly kind: 'dead'; readonly delivery: D; readonly reason: string };

/** What a broker can do, and its limits. Absent limits are unlimited. */
export interface BrokerCapabilities {
  /** The longest delay, in milliseconds: 0 for none. Core refuses a later ETA before publishing. */
  readonly maxDelayMs?: number;
  /** The largest body, in bytes of UTF-8. Core refuses a larger one before publishing. */
  readonly maxMessageBytes?: number;
  /** The most messages in one `publish`. */
  readonly maxPublishBatch?: number;
  /** `Signature.priority` is honoured. */
  readonly priority?: boolean;
  /** Deliveries carry a `deliveryCount`. */
  readonly deliveryCount?: boolean;
  /** `publish` resolves after the task has run in this process: no batches, no slots. */
  readonly eager?: boolean;
  /** `pendingMessages` works. */
  readonly listPending?: boolean;
  /** `delayedMessages` works. */
  readonly listDelayed?: boolean;
}

/** What the server tells its broker once, before anything else. */
export interface BrokerEnvironment {
  /** Where messages without a routing key go. */
  readonly defaultQueue: string;
  /** For what fails in the background. */
  readonly logger: Logger;
}

/** Publishes messages and hands out those of a queue. */
export interface Broker {
  readonly contractVersion: ContractVersion;
  /** The package's name, for error messages. */
  readonly name: string;
  readonly capabilities: BrokerCapabilities;

  /** Called once by `new Server`. Must not connect. */
  attach?(environment: BrokerEnvironment): void;

  /** What an empty routing key becomes. Default: the server's default queue. */
  defaultRoutingKey?(defaultQueue: string): string;

  /**
   * Stores the messages, in order for each routing key. Resolves when the server has confirmed each, as far as the
   * transport can, with one outcome for each message in their order. A batch may succeed in part.
   *
   * May be called again before it has resolved. Never repeats by itself a message that may have been stored: such a
   * message is `unknown`. Errors that more tries cannot mend (no rights, too large, no such queue) are not retryable.
   */
  publish(messages: readonly Message[]): Promise<Outcome[]>;

  /**
   * Starts to consume `queue`. Resolves when the topology stands and the consumer can take. Rejects with
   * `ERR_MACHINERY_BROKER_UNAVAILABLE` when trying again may help (core does), with anything else when it cannot.
   */
  consume(options: ConsumeOptions): Promise<Consumer>;

  /** The bodies of messages that wait in `queue`, in order, at most `limit`. Takes nothing. */
  pendingMessages?(queue: string, limit: number): Promise<string[]>;
  /** The bodies of delayed messages, soonest first, at most `limit`. Takes nothing. */
  delayedMessages?(limit: number): Promise<string[]>;

  /** Ends the connections that the broker opened itself, after what is being published is confirmed. Safe to call twice. */
  close(): Promise<void>;
}

export interface ConsumeOptions {
  readonly queue: string;
  /** The worker's tag, for the broker's own lists of consumers. */
  readonly tag: string;
  /** The most messages that core will have in hand at once. */
  readonly maxInHand: number;
}

/** One consumer of one queue. Core has at most one `exchange` under way; `settle` may be called while it waits. */
export interface Consumer<D extends Delivery = Delivery> {
  /**
   * Settles what is done and takes up to `want` messages (at least 1), in one round trip where the broker can. Resolves
   * as soon as there is any message; waits while there is none, until `signal` aborts: then it resolves with what it has,
   * often nothing. It never rejects because of the signal, and never loses what it took.
   *
   * Rejects when the connection is lost, after which core calls it again with the same settlements: settling a delivery
   * twice must do no harm. A settlement of a delivery that is no longer this consumer's is ignored. Deliveries come back
   * as the objects that were handed out. After `close`: rejects with `ERR_MACHINERY_CLOSED`.
   */
  exchange(settled: readonly Settlement<D>[], want: number, signal: AbortSignal): Promise<D[]>;
  /** Settles without taking. Rejects like `exchange`. */
  settle(settled: readonly Settlement<D>[]): Promise<void>;
  /** Gives back at once what is not settled, as redeliveries, and ends the consumer. Safe to call twice. */
  close(): Promise<void>;
}
