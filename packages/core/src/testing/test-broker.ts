// The memory broker as a test server has it: it knows what was sent and what is still to do. Workers are given only
// messages that they can do something about; those of tasks without a handler are parked.

import type { Broker, BrokerCapabilities, ConsumeOptions, Consumer, Delivery, Message, Settlement } from '../broker.ts';
import type { Alarm, Clock } from '../clock.ts';
import { type ContractVersion, contractVersion } from '../contract-version.ts';
import { MemoryBroker } from '../memory/memory-broker.ts';
import type { Outcome } from '../outcome.ts';
import type { Signature } from '../signature.ts';
import { decodeSignature } from '../wire/signature-codec.ts';

export class TestBroker implements Broker {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/core/testing';
  readonly capabilities: BrokerCapabilities;
  /** Everything that was stored, in order. */
  readonly published: Message[] = [];
  /** The names of the queues that something was sent to. */
  readonly queues = new Set<string>();
  /** What workers have in hand, by the name of its task. */
  readonly inHand = new Map<Delivery, string>();
  /** When the next delayed message is due, Unix milliseconds. */
  nextDueMs: number | undefined;
  /** Of tasks without a handler, by their names. */
  readonly parked = new Map<Delivery, string>();
  /** How many messages workers were given. */
  delivered = 0;
  /** Whether a task has a handler. */
  isRegistered: (name: string) => boolean = () => true;
  /** Called when there may be more or less to do. */
  onChange: () => void = () => {};
  readonly #memory: MemoryBroker;
  readonly #consumers = new Set<TestConsumer>();

  constructor(clock: Clock) {
    this.#memory = new MemoryBroker({
      clock: { now: () => clock.now(), wakeAt: (...at) => this.#wakeAt(clock, ...at) },
    });
    // Settle at once: whoever waits for the end should not wait for more messages to ride along with.
    this.capabilities = { ...this.#memory.capabilities, pushes: true };
  }

  async publish(messages: readonly Message[]): Promise<Outcome[]> {
    const outcomes = await this.#memory.publish(messages);
    for (const [i, message] of messages.entries()) {
      if (outcomes[i]?.status !== 'stored') continue;
      this.published.push(message);
      this.queues.add(message.routingKey);
    }
    this.onChange();
    return outcomes;
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    const consumer = new TestConsumer(this, await this.#memory.consume(options), () =>
      this.#consumers.delete(consumer),
    );
    this.#consumers.add(consumer);
    return consumer;
  }

  get hasWorkers(): boolean {
    return this.#consumers.size > 0;
  }

  /** Puts back what was parked: its task may have a handler by now. */
  async unpark(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.unpark()));
  }

  /** Whether nothing can run now. Call it while every queue has a worker. */
  async isIdle(): Promise<boolean> {
    if (this.inHand.size > 0) return false;
    for (const queue of this.queues) if ((await this.pendingMessages(queue, 1)).length > 0) return false;
    return true;
  }

  pendingMessages(queue: string, limit: number): Promise<string[]> {
    return this.#memory.pendingMessages(queue, limit);
  }

  delayedMessages(limit: number): Promise<string[]> {
    return this.#memory.delayedMessages(limit);
  }

  close(): Promise<void> {
    return this.#memory.close();
  }

  #wakeAt(clock: Clock, timeMs: number, callback: () => void): Alarm {
    this.nextDueMs = timeMs;
    const alarm = clock.wakeAt(timeMs, () => {
      this.nextDueMs = undefined;
      callback();
    });
    return {
      cancel: () => {
        this.nextDueMs = undefined;
        alarm.cancel();
      },
    };
  }
}

class TestConsumer implements Consumer {
  readonly #broker: TestBroker;
  readonly #inner: Consumer;
  readonly #onClose: () => void;
  #parked: Delivery[] = [];

  constructor(broker: TestBroker, inner: Consumer, onClose: () => void) {
    this.#broker = broker;
    this.#inner = inner;
    this.#onClose = onClose;
  }

  async exchange(settled: readonly Settlement[], want: number, signal: AbortSignal): Promise<Delivery[]> {
    const exchanged = this.#inner.exchange(settled, want, signal);
    this.#note(settled);
    const deliveries = await exchanged;
    const runnable = deliveries.filter((delivery) => {
      const { name, ignoreWhenTaskNotRegistered = false } = decoded(delivery) ?? {};
      if (name !== undefined && !ignoreWhenTaskNotRegistered && !this.#broker.isRegistered(name)) {
        this.#parked.push(delivery);
        this.#broker.parked.set(delivery, name);
        return false;
      }
      this.#broker.inHand.set(delivery, name ?? 'a message that is no signature');
      this.#broker.delivered++;
      return true;
    });
    if (runnable.length < deliveries.length) this.#broker.onChange();
    return runnable;
  }

  async settle(settled: readonly Settlement[]): Promise<void> {
    await this.#inner.settle(settled);
    this.#note(settled);
  }

  async close(): Promise<void> {
    await this.unpark();
    await this.#inner.close();
    this.#onClose();
  }

  async unpark(): Promise<void> {
    const parked = this.#parked;
    this.#parked = [];
    for (const delivery of parked) this.#broker.parked.delete(delivery);
    await this.#inner.settle(parked.map((delivery) => ({ kind: 'requeue', position: 'front', delivery })));
  }

  #note(settled: readonly Settlement[]): void {
    for (const { delivery } of settled) this.#broker.inHand.delete(delivery);
    if (settled.length > 0) this.#broker.onChange();
  }
}

/** What is no signature is the worker's to refuse. */
function decoded({ body }: Delivery): Signature | undefined {
  try {
    return decodeSignature(body);
  } catch {
    return undefined;
  }
}
