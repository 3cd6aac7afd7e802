// A broker on RabbitMQ that shares its exchange and queues with Go Machinery. One connection publishes, one consumes, both for
// all queues. Publishing is here, taking in `amqp-consumer.ts`, what is declared in `topology.ts`, delays in `delays.ts`.

import { AmqpConnection, isMissing, Publisher, type Sending, Unroutable } from '@machinery/amqp-client';
import {
  type Broker,
  type BrokerCapabilities,
  type BrokerEnvironment,
  type ConsumeOptions,
  type Consumer,
  type ContractVersion,
  consoleLogger,
  contractVersion,
  failed,
  MachineryError,
  type Message,
  NotSupportedError,
  type Outcome,
  UnderWay,
} from '@machinery/core';
import { AmqpConsumer } from './amqp-consumer.ts';
import { type Delays, delaysOf, maxDelayMs } from './delays.ts';
import { delayed, propertiesOf } from './messages.ts';
import { type AmqpBrokerOptions, checkBrokerOptions, checkPrefetch, defaultExchange } from './options.ts';
import { Topology } from './topology.ts';

/** What is to be published, and where: decided when it is written, as delays are counted from then. */
type Plan = () => Sending;

/** A broker on RabbitMQ, shared with Go's workers and producers. */
export class AmqpBroker implements Broker {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/broker-amqp';
  readonly capabilities: BrokerCapabilities;
  readonly #options: AmqpBrokerOptions;
  readonly #publishing: AmqpConnection;
  readonly #consuming: AmqpConnection;
  readonly #publisher: Publisher;
  readonly #topology: Topology;
  /** What consumers have declared, on their connection. */
  readonly #consumed: Topology;
  readonly #delays: Delays;
  readonly #consumers = new Set<AmqpConsumer>();
  readonly #underWay = new UnderWay();
  #environment: BrokerEnvironment = { defaultQueue: 'machinery_tasks', logger: consoleLogger };
  #prefetch: number | undefined;
  #closed: Promise<void> | undefined;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: AmqpBrokerOptions) {
    checkBrokerOptions(options);
    const { exchange = defaultExchange, maxMessageBytes, confirmTimeoutMs = 30_000 } = options;
    this.#options = options;
    this.#prefetch = options.prefetch;
    this.#publishing = new AmqpConnection('AmqpBroker', 'broker', options, 'publishing');
    this.#consuming = new AmqpConnection('AmqpBroker', 'broker', options, 'consuming');
    this.#delays = delaysOf(options, exchange, this.#publishing);
    const topology = {
      ...options,
      source: this.#delays.source,
      defaultQueue: () => this.#environment.defaultQueue,
      logger: () => this.#environment.logger,
    };
    this.#topology = new Topology(this.#publishing, topology);
    this.#consumed = new Topology(this.#consuming, topology);
    this.#publisher = new Publisher(this.#publishing, confirmTimeoutMs, () => this.#topology.forget());
    this.capabilities = Object.freeze({
      priority: true,
      pushes: true,
      listPending: true,
      maxDelayMs,
      ...(maxMessageBytes !== undefined && { maxMessageBytes }),
    });
  }

  attach(environment: BrokerEnvironment): void {
    this.#environment = environment;
  }

  /** As the option. A change is for running consumers, too, which hold what they have. */
  get prefetch(): number | undefined {
    return this.#prefetch;
  }

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  set prefetch(prefetch: number | undefined) {
    checkPrefetch(prefetch);
    if (prefetch === this.#prefetch) return;
    this.#prefetch = prefetch;
    for (const consumer of this.#consumers) consumer.prefetchChanged();
  }

  /** Go: AdjustRoutingKey. */
  defaultRoutingKey(defaultQueue: string): string {
    return this.#topology.exchangeType === 'direct' ? this.#topology.bindingKey : defaultQueue;
  }

  /** Outcomes: `failed`, retryable, when RabbitMQ is away or blocks; for good when it refuses; `unknown` when the connection was lost first. */
  publish(messages: readonly Message[]): Promise<Outcome[]> {
    return this.#underWay.during(() => this.#publish(messages));
  }

  async #publish(messages: readonly Message[]): Promise<Outcome[]> {
    const outcomes = await this.#publishOnce(messages);
    const returned = messages.filter((_, i) => isReturned(outcomes[i]));
    if (returned.length === 0) return outcomes;
    // The queue was deleted after it had been declared
    this.#topology.forget();
    const again = await this.#publishOnce(returned);
    let next = 0;
    return outcomes.map((outcome) => (isReturned(outcome) ? forGood(again[next++] as Outcome) : outcome));
  }

  async #publishOnce(messages: readonly Message[]): Promise<Outcome[]> {
    try {
      if (this.#closed !== undefined) throw closedError();
      await this.#publisher.ready();
    } catch (error) {
      return messages.map(() => failure(error));
    }
    return this.#send(messages.map((message) => this.#plan(message)));
  }

  /** Never rejects: a plan that cannot be made fails alone. */
  async #send(planning: readonly Promise<Plan>[]): Promise<Outcome[]> {
    const plans = await Promise.all(planning.map((plan) => plan.catch(failure)));
    const sendings = plans.filter((plan): plan is Plan => typeof plan === 'function');
    const sent = await this.#publisher.send(sendings);
    let next = 0;
    return plans.map((plan) => (typeof plan === 'function' ? (sent[next++] as Outcome) : plan));
  }

  /** Declares what it needs. */
  async #plan(message: Message): Promise<Plan> {
    const { body, routingKey, dueAtMs = 0, signature } = message;
    const what = `Task ${signature.name}${signature.uuid === undefined ? '' : ` (${signature.uuid})`}`;
    const content = Buffer.from(body);
    const { maxMessageBytes = Number.POSITIVE_INFINITY } = this.#options;
    if (content.length > maxMessageBytes) {
      const text = `${what} has ${content.length} bytes, more than \`maxMessageBytes\`, ${maxMessageBytes}`;
      throw new MachineryError('ERR_MACHINERY_MESSAGE_TOO_LARGE', text);
    }
    await this.#topology.forPublishing(routingKey);
    const { exchange } = this.#topology;
    const properties = propertiesOf(message);
    if (dueAtMs <= Date.now()) return () => ({ exchange, routingKey, content, properties, what });
    return this.#delayedPlan({ routingKey, content, properties, what }, dueAtMs);
  }

  async #delayedPlan(sending: Omit<Sending, 'exchange'>, dueAtMs: number): Promise<Plan> {
    if (dueAtMs - Date.now() > maxDelayMs)
      throw new NotSupportedError(this.name, `delays of more than ${maxDelayMs} ms: ${sending.what} is due later`);
    const route = await this.#delays.prepare(this.#topology, sending.routingKey, dueAtMs);
    return () => {
      const to = route(Math.max(1, dueAtMs - Date.now()));
      const { exchange, routingKey, isKept = false } = to;
      return { ...sending, exchange, routingKey, isKept, properties: delayed(sending.properties, to) };
    };
  }

  async consume({ queue, tag, slots }: ConsumeOptions): Promise<Consumer> {
    if (this.#closed !== undefined) throw closedError();
    const consumer = new AmqpConsumer({
      connection: this.#consuming,
      topology: this.#consumed,
      queue,
      tag,
      prefetch: () => this.#prefetch ?? Math.min(slots, 65_535),
      slots,
      deadQueue: () => this.#topology.deadQueueOf(queue),
      sendCopies: (copies) => this.#underWay.during(() => this.#sendCopies(queue, copies)),
      logger: this.#environment.logger,
      onClose: (closed) => this.#consumers.delete(closed),
    });
    this.#consumers.add(consumer);
    try {
      await consumer.open();
    } catch (error) {
      await consumer.close();
      throw error;
    }
    return consumer;
  }

  /** Gets messages without acking them, and gives them back: they are redeliveries then, and not to be had meanwhile. */
  async pendingMessages(queue: string, limit: number): Promise<string[]> {
    if (this.#closed !== undefined) throw closedError();
    const channel = await this.#publishing.channel();
    const bodies: string[] = [];
    try {
      while (bodies.length < limit) {
        const got = await channel.call(`list queue ${queue}`, (raw) => raw.get(queue));
        if (got === false) break;
        bodies.push(got.content.toString());
      }
      return bodies;
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    } finally {
      await channel.close();
    }
  }

  /** @throws MachineryError ERR_MACHINERY_BROKER_UNAVAILABLE, also while RabbitMQ takes no messages; ERR_MACHINERY_CLOSED */
  async ping(): Promise<void> {
    if (this.#closed !== undefined) throw closedError();
    await this.#publisher.ready();
    await (await this.#publishing.channel()).close();
  }

  async countPending(queue: string): Promise<number> {
    if (this.#closed !== undefined) throw closedError();
    const channel = await this.#publishing.channel();
    try {
      const { messageCount } = await channel.call(`count queue ${queue}`, (raw) => raw.checkQueue(queue));
      return messageCount;
    } catch (error) {
      if (isMissing(error)) return 0;
      throw error;
    } finally {
      await channel.close();
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()));
    await this.#underWay.none();
    await Promise.all([this.#publishing.close(), this.#consuming.close()]);
  }

  /** Publishes copies of what a consumer has: back to its queue alone, at once or later, or to another queue. */
  async #sendCopies(queue: string, copies: readonly Copy[]): Promise<Outcome[]> {
    const plans = copies.map(async ({ to, delayMs, content, properties }): Promise<Plan> => {
      const what = `A message of queue ${queue}`;
      if (delayMs <= 0) return () => ({ exchange: '', routingKey: to, content, properties, what });
      await this.#topology.forQueue(queue);
      const routingKey = this.#delays.keyOfQueue?.(queue) ?? this.#keyOf(queue);
      return this.#delayedPlan({ routingKey, content, properties, what }, Date.now() + delayMs);
    });
    const outcomes = await this.#send(plans);
    if (outcomes.some(isReturned)) this.#topology.forget(); // the next try declares again what was deleted
    return outcomes;
  }

  #keyOf(queue: string): string {
    return queue === this.#environment.defaultQueue ? this.defaultRoutingKey(queue) : queue;
  }
}

/** A copy of a delivery that goes to a queue by its name, in `delayMs` milliseconds. */
export interface Copy {
  readonly to: string;
  readonly delayMs: number;
  readonly content: Buffer;
  readonly properties: Sending['properties'];
}

function isReturned(outcome: Outcome | undefined): boolean {
  return outcome?.status === 'failed' && outcome.error instanceof Unroutable;
}

/** What no queue takes although its queue was declared again: its routing key is bound to none. */
function forGood(outcome: Outcome): Outcome {
  return outcome.status === 'failed' && outcome.error instanceof Unroutable ? failed(outcome.error, false) : outcome;
}

function failure(error: unknown): Outcome {
  return failed(error as Error, MachineryError.is(error, 'ERR_MACHINERY_BROKER_UNAVAILABLE'));
}

function closedError(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The broker is closed');
}
