// Any broker, with calls that can be made to fail, and that are counted. For the tests of adapters and of what uses them.

import {
  type Broker,
  type BrokerCapabilities,
  type BrokerEnvironment,
  type ConsumeOptions,
  type Consumer,
  type Delivery,
  MachineryError,
  type Message,
  type Outcome,
  type Settlement,
} from '@machinery/core';
import { exceptFor, Faults } from './faults.ts';

export type BrokerCall = 'publish' | 'consume' | 'exchange' | 'settle' | 'owns' | 'pendingMessages' | 'delayedMessages';

export class FaultyBroker implements Broker {
  readonly contractVersion: Broker['contractVersion'];
  readonly name: string;
  readonly capabilities: BrokerCapabilities;
  /** What fails: see there. */
  readonly faults = new Faults<BrokerCall>(
    ['publish', 'consume', 'exchange', 'settle', 'owns', 'pendingMessages', 'delayedMessages'],
    (call) => new MachineryError('ERR_MACHINERY_BROKER_UNAVAILABLE', `The broker is away (${call}), on purpose`),
  );
  /** Answers the outcome of a message that is not to reach the broker; undefined lets it pass. */
  refuse: (message: Message) => Outcome | undefined = () => undefined;
  /** Called before each batch of messages reaches the broker, which waits for the answer. */
  onPublish: ((messages: readonly Message[]) => unknown) | undefined;
  /** How many messages `publish` was called with. */
  messagesPublished = 0;
  /** How many messages were on their way at once, at most. */
  mostPublishing = 0;
  readonly defaultRoutingKey?: (defaultQueue: string) => string;
  readonly pendingMessages?: (queue: string, limit: number) => Promise<string[]>;
  readonly delayedMessages?: (limit: number) => Promise<string[]>;
  readonly #inner: Broker;
  #publishing = 0;

  /** @param capabilities replace those that the broker declares. */
  constructor(inner: Broker, capabilities: Partial<BrokerCapabilities> = {}) {
    this.#inner = inner;
    this.contractVersion = inner.contractVersion;
    this.name = inner.name;
    this.capabilities = { ...inner.capabilities, ...capabilities };
    if (inner.defaultRoutingKey !== undefined) this.defaultRoutingKey = inner.defaultRoutingKey.bind(inner);
    const { pendingMessages, delayedMessages } = inner;
    if (pendingMessages !== undefined)
      this.pendingMessages = (queue, limit) =>
        this.faults.pass('pendingMessages', () => pendingMessages.call(inner, queue, limit));
    if (delayedMessages !== undefined)
      this.delayedMessages = (limit) => this.faults.pass('delayedMessages', () => delayedMessages.call(inner, limit));
  }

  get calls(): Readonly<Record<BrokerCall, number>> {
    return this.faults.calls;
  }

  attach(environment: BrokerEnvironment): void {
    this.#inner.attach?.(environment);
  }

  async publish(messages: readonly Message[]): Promise<Outcome[]> {
    this.messagesPublished += messages.length;
    this.#publishing += messages.length;
    this.mostPublishing = Math.max(this.mostPublishing, this.#publishing);
    try {
      if (this.onPublish !== undefined) await this.onPublish(messages);
      return await this.faults.passBatch('publish', messages, (passed) =>
        exceptFor(passed, this.refuse, (accepted) => this.#inner.publish(accepted)),
      );
    } finally {
      this.#publishing -= messages.length;
    }
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    let consumer: Consumer | undefined;
    try {
      return await this.faults.pass('consume', async () => {
        consumer = await this.#inner.consume(options);
        return new FaultyConsumer(consumer, this.faults);
      });
    } catch (error) {
      await consumer?.close(); // its caller does not know it
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

/**
 * What an exchange took whose answer was lost comes with a later exchange, as the contract asks. An outage ends the wait of
 * an exchange at once.
 */
class FaultyConsumer implements Consumer {
  readonly owns?: (delivery: Delivery) => Promise<boolean>;
  readonly #inner: Consumer;
  readonly #faults: Faults<BrokerCall>;
  #lost: Delivery[] = [];
  /** The exchange that goes on after its caller was told that the broker is away. */
  #abandoned: Promise<void> | undefined;

  constructor(inner: Consumer, faults: Faults<BrokerCall>) {
    this.#inner = inner;
    this.#faults = faults;
    const { owns } = inner;
    if (owns !== undefined) this.owns = (delivery) => faults.pass('owns', async () => owns.call(inner, delivery));
  }

  async exchange(settled: readonly Settlement[], want: number, signal: AbortSignal): Promise<Delivery[]> {
    let taken: Delivery[] | undefined;
    try {
      return await this.#faults.pass('exchange', async () => {
        taken = await this.#exchange(settled, want, signal);
        return taken;
      });
    } catch (error) {
      if (taken !== undefined) this.#lost.push(...taken);
      throw error;
    }
  }

  async #exchange(settled: readonly Settlement[], want: number, signal: AbortSignal): Promise<Delivery[]> {
    await this.#abandoned;
    if (this.#lost.length > 0) {
      await this.#inner.settle(settled);
      return this.#lost.splice(0, want);
    }
    const { away } = this.#faults;
    const stop = new AbortController();
    const abort = () => stop.abort();
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    let giveUp: () => void = () => {};
    try {
      const exchanged = this.#inner.exchange(settled, want, stop.signal);
      const cut = new Promise<'cut'>((resolve) => {
        giveUp = () => resolve('cut');
        away.addEventListener('abort', giveUp);
        if (away.aborted) giveUp();
      });
      const taken = await Promise.race([exchanged, cut]);
      if (taken !== 'cut') return taken;
      abort();
      this.#abandoned = exchanged.then(
        (late) => void this.#lost.push(...late),
        () => {},
      );
      throw new MachineryError('ERR_MACHINERY_BROKER_UNAVAILABLE', 'The broker went away (exchange), on purpose');
    } finally {
      away.removeEventListener('abort', giveUp);
      signal.removeEventListener('abort', abort);
    }
  }

  settle(settled: readonly Settlement[]): Promise<void> {
    return this.#faults.pass('settle', () => this.#inner.settle(settled));
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
