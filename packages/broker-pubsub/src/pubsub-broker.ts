// A broker on Google Cloud Pub/Sub that shares topics and subscriptions with Go Machinery. Publishing is in `publisher.ts`, taking in
// `pubsub-consumer.ts`, names and what must exist in `resources.ts`.

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
  type Outcome,
  UnderWay,
} from '@machinery/core';
import { Clients } from './clients.ts';
import { isForbidden, isMissing } from './errors.ts';
import { messageOf } from './messages.ts';
import { checkBrokerOptions, type PubSubBrokerOptions } from './options.ts';
import { maxMessageBytes, Publisher, type Sending } from './publisher.ts';
import { PubSubConsumer } from './pubsub-consumer.ts';
import { Resources } from './resources.ts';

/** A broker on Google Cloud Pub/Sub, shared with Go's workers and producers. */
export class PubSubBroker implements Broker {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/broker-pubsub';
  /** It pulls, but what it gives back is counted where there is a dead-letter policy: so nothing is taken ahead, as where a server pushes. */
  readonly capabilities: BrokerCapabilities = Object.freeze({ pushes: true, maxMessageBytes });
  readonly #options: PubSubBrokerOptions;
  readonly #clients: Clients;
  readonly #publisher: Publisher;
  readonly #resources: Resources;
  /** Those that are open, and those whose last pulls are under way. */
  readonly #consumers = new Set<PubSubConsumer>();
  readonly #underWay = new UnderWay();
  #environment: BrokerEnvironment = { defaultQueue: 'machinery_tasks', logger: consoleLogger };
  #closed: Promise<void> | undefined;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: PubSubBrokerOptions = {}) {
    checkBrokerOptions(options);
    this.#options = options;
    this.#clients = new Clients(options);
    this.#publisher = new Publisher(this.#clients);
    const { defaultQueue, logger } = {
      defaultQueue: () => this.#environment.defaultQueue,
      logger: () => this.#environment.logger,
    };
    this.#resources = new Resources(this.#clients, options, defaultQueue, logger);
  }

  attach(environment: BrokerEnvironment): void {
    this.#environment = environment;
  }

  /** Outcomes: `failed`, retryable, when Pub/Sub cannot be reached or throttles; for good when it refuses; `unknown` when a call broke. */
  publish(messages: readonly Message[]): Promise<Outcome[]> {
    return this.#underWay.during(() => this.#publish(messages));
  }

  async #publish(messages: readonly Message[]): Promise<Outcome[]> {
    try {
      if (this.#closed !== undefined) throw closedError();
      return await this.#publisher.send(await Promise.all(messages.map((message) => this.#sendingOf(message))));
    } catch (error) {
      const mayPass = MachineryError.is(error, 'ERR_MACHINERY_BROKER_UNAVAILABLE');
      return messages.map(() => failed(error as Error, mayPass));
    }
  }

  async #sendingOf(message: Message): Promise<Sending> {
    const { signature, routingKey } = message;
    const create = this.#options.createMissing === true ? () => this.#resources.create(routingKey) : undefined;
    if (create !== undefined) await this.#resources.keep(routingKey);
    return {
      topic: await this.#resources.topicOf(routingKey),
      message: messageOf(message),
      what: `Task ${signature.name}${signature.uuid === undefined ? '' : ` (${signature.uuid})`}`,
      create,
    };
  }

  async consume({ queue, maxInHand }: ConsumeOptions): Promise<Consumer> {
    if (this.#closed !== undefined) throw closedError();
    const consumer = new PubSubConsumer({
      ...this.#options,
      clients: this.#clients,
      queue,
      maxInHand,
      source: () => this.#resources.sourceOf(queue),
      topicOf: (name) => this.#resources.topicOf(name),
      send: (sendings) => this.#underWay.during(() => this.#publisher.send(sendings)),
      logger: this.#environment.logger,
      onDrained: (drained) => this.#consumers.delete(drained),
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

  /** That there is no such topic, or no right to look at it, is an answer, too. */
  async ping(): Promise<void> {
    if (this.#closed !== undefined) throw closedError();
    const topic = await this.#resources.topicOf(this.#environment.defaultQueue);
    const call = this.#clients.call('answer', ({ publisher }, options) => publisher.getTopic({ topic }, options));
    await call.catch((error) => {
      if (!isMissing(error) && !isForbidden(error)) throw error;
    });
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const consumers = [...this.#consumers];
    await Promise.all(consumers.map((consumer) => consumer.close()));
    await Promise.all(consumers.map((consumer) => consumer.drain()));
    await this.#underWay.none();
    await this.#clients.close();
  }
}

function closedError(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The broker is closed');
}
