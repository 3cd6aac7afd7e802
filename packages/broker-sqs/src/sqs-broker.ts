// A broker on Amazon SQS that shares its queues with Go Machinery. Publishing is here and in `publisher.ts`, taking in `sqs-consumer.ts`,
// delays in `delays.ts`.

import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs';
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
import { type Clients, clientsOf } from './clients.ts';
import { DeadLetters } from './dead-letters.ts';
import { DelayMover } from './delay-mover.ts';
import { maxDelaySeconds } from './delays.ts';
import { type Route, routeOf } from './entries.ts';
import { brokerError, closedError, isAnswer } from './errors.ts';
import { type ResolvedOptions, resolveOptions, type SqsBrokerOptions } from './options.ts';
import { Publisher } from './publisher.ts';
import { type Queue, Queues } from './queues.ts';
import { SqsConsumer } from './sqs-consumer.ts';

/** A broker on Amazon SQS, shared with Go's workers and producers. */
export class SqsBroker implements Broker {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/broker-sqs';
  readonly capabilities: BrokerCapabilities;
  readonly #options: ResolvedOptions;
  readonly #clients: Clients;
  readonly #queues: Queues;
  readonly #publisher: Publisher;
  readonly #consumers = new Set<SqsConsumer>();
  readonly #underWay = new UnderWay();
  #mover: DelayMover | undefined;
  #environment: BrokerEnvironment = { defaultQueue: 'machinery_tasks', logger: consoleLogger };
  #closed: Promise<void> | undefined;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: SqsBrokerOptions = {}) {
    this.#options = resolveOptions(options);
    const { maxMessageBytes, delayQueue } = this.#options;
    this.#clients = clientsOf(this.#options);
    this.#queues = new Queues(this.#options, this.#clients.sending);
    this.#publisher = new Publisher(this.#clients.sending, maxMessageBytes);
    this.capabilities = Object.freeze({
      deliveryCount: true,
      pushes: true,
      maxMessageBytes,
      ...(delayQueue === undefined && { maxDelayMs: maxDelaySeconds * 1_000 }),
    });
  }

  attach(environment: BrokerEnvironment): void {
    this.#environment = environment;
  }

  /** Outcomes: `failed`, retryable, when SQS is away or throttles; for good when it refuses; `unknown` when a request had left and nobody answered. */
  publish(messages: readonly Message[]): Promise<Outcome[]> {
    return this.#underWay.during(() => this.#publish(messages));
  }

  async #publish(messages: readonly Message[]): Promise<Outcome[]> {
    if (this.#closed !== undefined) return messages.map(() => failed(closedError('broker'), false));
    const routes = await Promise.all(messages.map((message) => this.#route(message).catch(failure)));
    const outcomes: Outcome[] = [];
    const byQueue = new Map<Queue, { readonly route: Route; readonly index: number }[]>();
    for (const [index, route] of routes.entries()) {
      if ('status' in route) outcomes[index] = route;
      else byQueue.set(route.queue, [...(byQueue.get(route.queue) ?? []), { route, index }]);
    }
    const sending = [...byQueue].map(async ([queue, routed]) => {
      const sent = await this.#publisher.send(
        queue,
        routed.map(({ route }) => route.entry),
      );
      for (const [i, { index }] of routed.entries()) outcomes[index] = sent[i] as Outcome;
    });
    await Promise.all(sending);
    return outcomes;
  }

  async #route(message: Message): Promise<Route> {
    const { delayQueue } = this.#options;
    return routeOf(message, {
      queue: await this.#queues.get(message.routingKey),
      delayQueue: async () => (delayQueue === undefined ? undefined : this.#queues.get(delayQueue)),
    });
  }

  async consume({ queue: name, maxInHand }: ConsumeOptions): Promise<Consumer> {
    if (this.#closed !== undefined) throw closedError('broker');
    if (name === this.#options.delayQueue)
      throw new MachineryError(
        'ERR_MACHINERY_INVALID_OPTION',
        `Queue ${name} is the \`delayQueue\`: no worker consumes it`,
      );
    const queue = await this.#existing(name);
    if (this.#closed !== undefined) throw closedError('broker');
    const { sending: client, receiving: receivingClient } = this.#clients;
    const { logger } = this.#environment;
    const shared = { client, queue, publisher: this.#publisher, logger };
    const { maxMessageBytes } = this.#options;
    const consumer = new SqsConsumer({
      ...shared,
      receivingClient,
      deadLetters: new DeadLetters({ ...shared, queues: this.#queues, maxMessageBytes }),
      maxInHand,
      options: this.#options,
      onClose: (closed) => this.#forget(closed),
    });
    this.#consumers.add(consumer);
    this.#startMover();
    return consumer;
  }

  /** Asks for the default queue: a refusal is an answer, too. */
  async ping(): Promise<void> {
    if (this.#closed !== undefined) throw closedError('broker');
    await this.#existing(this.#environment.defaultQueue).catch((error) => {
      if (!isAnswer(error)) throw error;
    });
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** A queue that is not there would be asked for in vain, for ever. Who may not ask is not told. */
  async #existing(name: string): Promise<Queue> {
    const queue = await this.#queues.get(name);
    try {
      await this.#clients.sending.send(
        new GetQueueAttributesCommand({ QueueUrl: queue.url, AttributeNames: ['QueueArn'] }),
      );
    } catch (error) {
      if (!/^AccessDenied/.test((error as Error).name)) throw brokerError(error, `consume queue ${name}`);
    }
    return queue;
  }

  #startMover(): void {
    const { delayQueue } = this.#options;
    if (delayQueue === undefined) return;
    this.#mover ??= new DelayMover({
      name: delayQueue,
      client: this.#clients.sending,
      receivingClient: this.#clients.receiving,
      queues: this.#queues,
      publisher: this.#publisher,
      logger: this.#environment.logger,
    });
  }

  #forget(consumer: SqsConsumer): void {
    this.#consumers.delete(consumer);
    void this.#underWay.during(() => consumer.drained());
    const mover = this.#mover;
    if (mover === undefined || this.#consumers.size > 0) return;
    void this.#underWay.during(() => mover.stop());
    this.#mover = undefined;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()));
    await this.#underWay.none();
    this.#clients.close();
  }
}

function failure(error: unknown): Outcome {
  return failed(error as Error, MachineryError.is(error, 'ERR_MACHINERY_BROKER_UNAVAILABLE'));
}
