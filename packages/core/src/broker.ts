// The contract of a broker: publish messages, and consume a queue in batches where settling what is done rides along
// with taking more. An adapter is transport only; slots, unknown tasks, retries and broken messages are core's.

import type { Backend, StateWrite } from './backend.ts';
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

/** A message, and the PENDING state of its task. */
export interface Send {
  readonly message: Message;
  readonly pending: StateWrite;
}

/** A message in a consumer's hands. Adapters hand out objects of their own that also hold what settling needs. */
export interface Delivery {
  readonly body: string;
  /** Its task may have begun before: a consumer did not settle it, or requeued it as `begun`. True too often does no harm, too seldom does. */
  readonly redelivered: boolean;
  /** How many times it was handed out without being settled, this time included; absent where the broker does not count. */
  readonly deliveryCount?: number;
  /** SQS: the receipt handle, put into the signature. */
  readonly receiptHandle?: string;
}

/** What becomes of a delivery. */
export type Settlement<D extends Delivery = Delivery> =
  /**
   * Done: the message is gone for good. `leave`: its task has failed and asks for its message to stay, so that the queue's own
   * dead-letter policy takes it; brokers whose queues have none ignore it.
   */
  | { readonly kind: 'ack'; readonly delivery: D; readonly leave?: boolean }
  /**
   * Back to its old place in the queue: this worker will not run it. `begun`: its task had begun, so that its next delivery
   * is `redelivered`. Not counted as a delivery where the broker lets one choose. Those of one call get their old places,
   * in whatever order they are named.
   */
  | { readonly kind: 'requeue'; readonly delivery: D; readonly position: 'front'; readonly begun?: boolean }
  /**
   * To the end of the queue, or due after `delayMs` milliseconds: another worker should have it. Not counted either, and a
   * redelivery stays one. Brokers
   * whose queues have no end to put it to offer it again in their own way. A crash halfway may leave one copy more.
   */
  | { readonly kind: 'requeue'; readonly delivery: D; readonly position: 'back'; readonly delayMs?: number }
  /** To the queue's bounded list of dead messages, with the reason. */
  | { readonly kind: 'dead'; readonly delivery: D; readonly reason: string };

/** What a broker can do, and its limits. Absent limits are unlimited. */
export interface BrokerCapabilities {
  /** The longest delay, in milliseconds: 0 for none. Core refuses a later ETA before publishing. */
  readonly maxDelayMs?: number;
  /** The largest body, in bytes of UTF-8. Core refuses a larger one before publishing. */
  readonly maxMessageBytes?: number;
  /** The most messages in one `publish`. Default: 1,000. */
  readonly maxPublishBatch?: number;
  /** `Signature.priority` is honoured. */
  readonly priority?: boolean;
  /** Deliveries carry a `deliveryCount`. */
  readonly deliveryCount?: boolean;
  /**
   * The server pushes messages and stops while too many are not settled (AMQP, Pub/Sub), or each taking counts and hides a message
   * (SQS): nothing is then taken ahead of free slots, and settlements are not kept for the next take, which would wait for them.
   */
  readonly pushes?: boolean;
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

  /** Called by each `new Server` that it is given to. Must not connect. */
  attach?(environment: BrokerEnvironment): void;

  /** What an empty routing key becomes. Default: the server's default queue. */
  defaultRoutingKey?(defaultQueue: string): string;

  /**
   * Stores the messages, in order for each routing key. Resolves when the server has confirmed each, as far as the
   * transport can, with one outcome for each message in their order. A batch may succeed in part.
   *
   * May be called again before it has resolved. Never repeats by itself a message that may have been stored: such a
   * message is `unknown`. Errors that more tries cannot mend (no rights, too large, no such queue) are not retryable; too
   * large is ERR_MACHINERY_MESSAGE_TOO_LARGE. After `close`: ERR_MACHINERY_CLOSED, as outcomes or as a rejection.
   */
  publish(messages: readonly Message[]): Promise<Outcome[]>;

  /**
   * Optional: where `backend` keeps its states on the broker's own server, how to store the PENDING states of tasks and to
   * publish their messages in one step; undefined where it does not. It answers as `publish` does: a message that is
   * stored has its state stored, and none is stored before its state. Asked once, by each `new Server`, which otherwise
   * calls `write` and then `publish`. A broker that wraps another must not have it, and it must know a backend that is
   * wrapped: or what is sent passes them by.
   */
  sendingWith?(backend: Backend): ((sends: readonly Send[]) => Promise<Outcome[]>) | undefined;

  /**
   * Starts to consume `queue`. Resolves when the topology stands and the consumer can take. Rejects with
   * `ERR_MACHINERY_BROKER_UNAVAILABLE` when trying again may help (core does), with anything else when it cannot, and with
   * `ERR_MACHINERY_CLOSED` after `close`.
   */
  consume(options: ConsumeOptions): Promise<Consumer>;

  /** Optional: resolves when the server has answered anything, and rejects when it has not. For `server.health`. */
  ping?(): Promise<void>;

  /** The bodies of messages that wait in `queue`, in order, at most `limit`. Takes nothing. */
  pendingMessages?(queue: string, limit: number): Promise<string[]>;
  /** Optional: how many messages wait in `queue`, where one cheap call says so; 0 when there is no such queue. Takes nothing. */
  countPending?(queue: string): Promise<number>;
  /** The bodies of delayed messages, soonest first, at most `limit`. Takes nothing. */
  delayedMessages?(limit: number): Promise<string[]>;

  /** Ends the connections that the broker opened itself, after what is being published is confirmed. Safe to call twice. */
  close(): Promise<void>;
}

export interface ConsumeOptions {
  readonly queue: string;
  /** The worker's tag, for the broker's own lists of consumers. */
  readonly tag: string;
  /** How many tasks run at once. */
  readonly slots: number;
  /**
   * The most messages that core has in hand at once: those that run, those whose states are being stored, and those that
   * wait for a slot. A broker that pushes may hold fewer, `slots` at least.
   */
  readonly maxInHand: number;
}

/** One consumer of one queue. Core has at most one `exchange` under way; `settle` may be called while it waits. */
export interface Consumer<D extends Delivery = Delivery> {
  /**
   * Settles what is done and takes up to `want` messages (at least 1), in one round trip where the broker can; fewer are
   * fine. Resolves as soon as there is any message; waits while there is none, until `signal` aborts: then it resolves with
   * what it has, often nothing, and not before. It settles even when the signal has fired already. It never rejects because of
   * the signal, never loses what it took, and leaves no listener on a signal that may live for long.
   *
   * Rejects when it does not know whether it settled or took. Core then calls it again after a while, with the same
   * settlements, and it connects again in there, without a loop of its own. Settling a delivery twice must do no harm: deliveries
   * are told apart as the objects that were handed out, never by their bodies. A settlement of a delivery that is no
   * longer this consumer's, or of a connection that is lost, is ignored whole. What a lost reply took comes with a
   * later exchange, not as a redelivery. `close` ends an exchange that waits, with nothing or `ERR_MACHINERY_CLOSED`; after it,
   * exchanges reject with that and settlements change nothing.
   */
  exchange(settled: readonly Settlement<D>[], want: number, signal: AbortSignal): Promise<D[]>;
  /** Settles without taking. Resolves when the transport has it; rejects like `exchange`. */
  settle(settled: readonly Settlement<D>[]): Promise<void>;
  /**
   * Whether `delivery` is still this consumer's. Core asks before it stores how a task ended, and lets the task go
   * when another consumer has it. Answers true at once when that is certain, a promise when the server must be asked.
   * Absent: a consumer keeps its deliveries for as long as it lives.
   */
  owns?(delivery: D): boolean | Promise<boolean>;
  /** Gives back at once what is not settled, as redeliveries, and ends the consumer. Safe to call twice. */
  close(): Promise<void>;
}
