// A broker inside this process: FIFO queues by routing key, delayed messages, redelivery and dead messages, with the
// semantics of the real ones but nothing kept beyond the process. The server publishes; `memory-queue.ts` keeps the
// order of a queue, `memory-consumer.ts` hands out and takes back.
// Invariant: every message stored is in one place: a queue, the delayed ones, a consumer, or a queue's dead ones.

import TinyQueue from 'tinyqueue';
import type { Broker, BrokerCapabilities, ConsumeOptions, Consumer, Message } from '../broker.ts';
import { type Alarm, type Clock, clockCheck, systemClock } from '../clock.ts';
import { type ContractVersion, contractVersion } from '../contract-version.ts';
import { MachineryError } from '../errors.ts';
import { checkOptions, integer, optional } from '../options.ts';
import { failed, type Outcome, stored } from '../outcome.ts';
import { closedError, MemoryConsumer } from './memory-consumer.ts';
import { type DeadMessage, MemoryDelivery, MemoryQueue } from './memory-queue.ts';

/** Limits of a memory broker; what is absent is unlimited unless it says otherwise. */
export interface MemoryBrokerOptions {
  /** The largest body, in bytes of UTF-8. Larger ones are refused for good with ERR_MACHINERY_MESSAGE_TOO_LARGE. */
  readonly maxMessageBytes?: number;
  /**
   * The most messages of one queue that wait or are delayed. More are refused with ERR_MACHINERY_BROKER_UNAVAILABLE,
   * to be tried again. What consumers hold is not counted, and what they give back is never refused. A worker whose tasks
   * have callbacks in its own full queue waits for room that only it can make: send less than fits.
   */
  readonly maxQueueLength?: number;
  /** How many dead messages a queue keeps before the oldest is dropped. Default 1,000. */
  readonly maxDeadMessages?: number;
  /** The longest delay of a published message, in milliseconds. Longer ones are refused for good. */
  readonly maxDelayMs?: number;
  /** For tests. Default: the system's. */
  readonly clock?: Clock;
}

/** A broker in memory, for tests, development and programs of one process. Several servers may share one. */
export class MemoryBroker implements Broker {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/core/memory MemoryBroker';
  readonly capabilities: BrokerCapabilities;

  readonly #maxMessageBytes: number;
  readonly #maxQueueLength: number;
  readonly #maxDeadMessages: number;
  readonly #maxDelayMs: number;
  readonly #queues = new Map<string, MemoryQueue>();
  readonly #consumers = new Set<MemoryConsumer>();
  readonly #delayed = new TinyQueue<DelayedMessage>([], soonestFirst);
  #delayedOrder = 0;
  readonly #clock: Clock;
  #alarm: Alarm | undefined;
  #alarmAtMs = 0;
  #closed = false;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: MemoryBrokerOptions = {}) {
    checkOptions('MemoryBroker', options, {
      maxMessageBytes: optional(integer({ min: 1 })),
      maxQueueLength: optional(integer({ min: 1 })),
      maxDeadMessages: optional(integer({ min: 0 })),
      maxDelayMs: optional(integer({ min: 0 })),
      clock: optional(clockCheck),
    });
    const { maxMessageBytes, maxQueueLength, maxDeadMessages, maxDelayMs } = options;
    this.#clock = options.clock ?? systemClock;
    this.#maxMessageBytes = maxMessageBytes ?? Number.POSITIVE_INFINITY;
    this.#maxQueueLength = maxQueueLength ?? Number.POSITIVE_INFINITY;
    this.#maxDeadMessages = maxDeadMessages ?? 1_000;
    this.#maxDelayMs = maxDelayMs ?? Number.POSITIVE_INFINITY;
    this.capabilities = Object.freeze({
      ...(maxMessageBytes !== undefined && { maxMessageBytes }),
      ...(maxDelayMs !== undefined && { maxDelayMs }),
      deliveryCount: true,
      listPending: true,
      listDelayed: true,
    });
  }

  /**
   * Stores the messages before it returns. A message is `failed` with ERR_MACHINERY_MESSAGE_TOO_LARGE or
   * ERR_MACHINERY_INVALID_ARGUMENT (a delay beyond `maxDelayMs`), with ERR_MACHINERY_BROKER_UNAVAILABLE (retryable)
   * when its queue is full, with ERR_MACHINERY_CLOSED after `close`. The others of the batch are stored all the same.
   */
  publish(messages: readonly Message[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    for (const message of messages) outcomes.push(this.#store(message));
    return Promise.resolve(outcomes);
  }

  /** @throws MachineryError ERR_MACHINERY_CLOSED after `close`. */
  consume(options: ConsumeOptions): Promise<Consumer> {
    if (this.#closed) return Promise.reject(closedError());
    const consumer = new MemoryConsumer(
      this.#queue(options.queue),
      (queue, message, delayMs) => this.#delay(queue, message, this.#clock.now() + delayMs),
      (it) => this.#consumers.delete(it),
    );
    this.#consumers.add(consumer);
    return Promise.resolve(consumer);
  }

  /** @throws MachineryError ERR_MACHINERY_CLOSED */
  async ping(): Promise<void> {
    if (this.#closed) throw closedError();
  }

  async pendingMessages(queue: string, limit: number): Promise<string[]> {
    return this.#queues.get(queue)?.bodies(limit) ?? [];
  }

  async countPending(queue: string): Promise<number> {
    return this.#queues.get(queue)?.messages.length ?? 0;
  }

  async delayedMessages(limit: number): Promise<string[]> {
    return this.#delayed.data
      .toSorted(soonestFirst)
      .slice(0, limit)
      .map(({ message }) => message.body);
  }

  /** The dead messages of a queue, oldest first, at most `maxDeadMessages`. */
  deadMessages(queue: string): DeadMessage[] {
    return this.#queues.get(queue)?.dead.toArray() ?? [];
  }

  /** Closes the consumers, whose waiting exchanges resolve with []. What waits or is delayed stays readable. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#alarm?.cancel();
    this.#alarm = undefined;
    for (const consumer of this.#consumers) consumer.end();
  }

  #store(message: Message): Outcome {
    if (this.#closed) return failed(closedError(), false);
    const { body, routingKey, dueAtMs } = message;
    if (this.#maxMessageBytes !== Number.POSITIVE_INFINITY) {
      const bytes = Buffer.byteLength(body);
      if (bytes > this.#maxMessageBytes) {
        const text = `${describe(message)} has ${bytes} bytes, the broker takes at most ${this.#maxMessageBytes}`;
        return failed(new MachineryError('ERR_MACHINERY_MESSAGE_TOO_LARGE', text), false);
      }
    }
    const queue = this.#queue(routingKey);
    if (queue.messages.length + queue.delayed >= this.#maxQueueLength) {
      const text = `Queue ${routingKey} is full: ${this.#maxQueueLength} messages wait or are delayed`;
      return failed(new MachineryError('ERR_MACHINERY_BROKER_UNAVAILABLE', text), true);
    }
    const delivery = new MemoryDelivery(body, false, 1);
    const delayMs = dueAtMs === undefined ? 0 : dueAtMs - this.#clock.now();
    if (delayMs > this.#maxDelayMs) {
      const text = `${describe(message)} is due in ${delayMs} ms, the broker delays at most ${this.#maxDelayMs} ms`;
      return failed(new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', text), false);
    }
    if (delayMs > 0) this.#delay(queue, delivery, dueAtMs as number);
    else queue.add(delivery);
    return stored;
  }

  #queue(name: string): MemoryQueue {
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      queue = new MemoryQueue(this.#maxDeadMessages);
      this.#queues.set(name, queue);
    }
    return queue;
  }

  #delay(queue: MemoryQueue, message: MemoryDelivery, dueAtMs: number): void {
    queue.delayed++;
    this.#delayed.push({ dueAtMs, order: this.#delayedOrder++, queue, message });
    if (this.#alarm === undefined || dueAtMs < this.#alarmAtMs) this.#setAlarm();
  }

  #setAlarm(): void {
    this.#alarm?.cancel();
    this.#alarm = undefined;
    const soonest = this.#delayed.peek();
    if (soonest === undefined) return;
    this.#alarmAtMs = soonest.dueAtMs;
    this.#alarm = this.#clock.wakeAt(soonest.dueAtMs, this.#releaseDue);
  }

  readonly #releaseDue = (): void => {
    const now = this.#clock.now();
    for (let next = this.#delayed.peek(); next !== undefined && next.dueAtMs <= now; next = this.#delayed.peek()) {
      this.#delayed.pop();
      next.queue.delayed--;
      next.queue.add(next.message);
    }
    this.#setAlarm();
  };
}

interface DelayedMessage {
  readonly dueAtMs: number;
  readonly order: number;
  readonly queue: MemoryQueue;
  readonly message: MemoryDelivery;
}

function soonestFirst(a: DelayedMessage, b: DelayedMessage): number {
  return a.dueAtMs - b.dueAtMs || a.order - b.order;
}

function describe({ routingKey, signature }: Message): string {
  return `The message of task ${signature.name} (${signature.uuid ?? 'no UUID'}) for queue ${routingKey}`;
}
