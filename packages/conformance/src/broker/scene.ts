// What one case works with: a broker and a queue of its own, further ones, messages that can be told apart, and the
// checks that many cases make. Everything is closed when the case has ended.
// Invariant: nothing waits longer than the patience, so that a broker that never answers fails a case instead of hanging it.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import {
  type Broker,
  type ConsumeOptions,
  type Delivery,
  encodeSignature,
  MachineryError,
  type Message,
  type Outcome,
  type Signature,
} from '@machinery/core';
import { within } from '../runner.ts';
import type { BrokerUnderTest } from './broker-under-test.ts';
import { ack, Hands, labels, started } from './hands.ts';

/** An unordered queue that is quiet for this part of the patience is taken for empty. Ordered ones are asked with a last message. */
const quietPart = 1 / 40;

interface MessageOptions {
  readonly queue?: string;
  readonly dueAtMs?: number;
  readonly priority?: number;
  /** The text of its one argument. */
  readonly text?: string;
  /** Fill the argument up until the body has this many bytes. */
  readonly bytes?: number;
}

export class Scene {
  readonly patienceMs: number;
  readonly redeliveryMs: number;
  readonly ordered: boolean;
  readonly #underTest: BrokerUnderTest;
  readonly #brokers = new Set<Broker>();
  readonly #hands: Hands[] = [];
  readonly #queues: string[] = [];
  #broker: Broker | undefined;
  #queue: string | undefined;

  constructor(underTest: BrokerUnderTest) {
    this.#underTest = underTest;
    this.patienceMs = underTest.patienceMs ?? 10_000;
    this.redeliveryMs = underTest.redeliveryMs ?? 30_000;
    this.ordered = underTest.unordered !== true;
  }

  async open(): Promise<void> {
    this.#queue = await this.newQueue();
    this.#broker = await this.#create();
  }

  /** The broker and the queue that are meant where a case names none. */
  get broker(): Broker {
    return this.#broker as Broker;
  }
  get queue(): string {
    return this.#queue as string;
  }

  /** Another broker on the same server; the same one where the server is in the broker. */
  async anotherBroker(): Promise<Broker> {
    return this.#underTest.inProcess ? this.broker : this.#create();
  }

  async newQueue(): Promise<string> {
    const queue = unpreparedQueue();
    this.#queues.push(queue);
    await this.patiently('a queue to be prepared', this.#underTest.prepareQueue?.(queue));
    return queue;
  }

  /** A message whose signature's name is `name`, which is what the checks below tell messages apart by. */
  message(name: string, { queue = this.queue, dueAtMs, priority, text, bytes }: MessageOptions = {}): Message {
    const uuid = `task_${randomUUID()}`;
    const make = (value: string | undefined): Signature => {
      const signature: Signature = {
        uuid,
        name,
        routingKey: queue,
        ...(dueAtMs !== undefined && { eta: new Date(dueAtMs) }),
        ...(priority !== undefined && { priority }),
        ...(value !== undefined && { args: [{ type: 'string', value }] }),
      };
      return this.#underTest.adaptSignature?.(signature) ?? signature;
    };
    let value = text;
    if (bytes !== undefined) {
      const missing = bytes - Buffer.byteLength(encodeSignature(make(text ?? '')));
      assert.ok(missing >= 0, `No message has as few bytes as ${bytes}: is maxMessageBytes meant?`);
      value = (text ?? '') + 'x'.repeat(missing);
    }
    const signature = make(value);
    const body = encodeSignature(signature);
    return { body, routingKey: queue, signature, ...(dueAtMs !== undefined && { dueAtMs }) };
  }

  /** Publishes messages (a text is the name of one for the case's queue), in batches as large as the broker takes; all must be stored. */
  publish(...messages: readonly (string | Message)[]): Promise<void> {
    const made = messages.map((message) => (typeof message === 'string' ? this.message(message) : message));
    return started(this.publishWith(this.broker, made));
  }

  async publishWith(broker: Broker, messages: readonly Message[]): Promise<void> {
    const { maxPublishBatch = 1_000 } = this.#underTest.declares;
    for (let from = 0; from < messages.length; from += maxPublishBatch) {
      const batch = messages.slice(from, from + maxPublishBatch);
      const outcomes = await this.outcomes(batch, broker);
      assert.deepEqual(
        outcomes,
        batch.map(() => 'stored'),
      );
    }
  }

  /** The outcomes of one `publish`: `stored`, `unknown`, or `failed` with the code and whether it is retryable. */
  async outcomes(messages: readonly Message[], broker = this.broker): Promise<string[]> {
    return (await this.patiently('publish to resolve', broker.publish(messages))).map(summary);
  }

  /** A consumer. Brokers that push hold at least `slots` messages, so a case never holds more than that, by default 50. */
  async consume(options: Partial<ConsumeOptions> = {}, broker = this.broker): Promise<Hands> {
    const {
      queue = this.queue,
      slots = 50,
      maxInHand = slots * 2,
      tag = `conformance-${this.#hands.length}`,
    } = options;
    const consumer = await this.patiently('consume to resolve', broker.consume({ queue, tag, slots, maxInHand }));
    const hands = new Hands(consumer, queue, slots, this.patienceMs);
    this.#hands.push(hands);
    return hands;
  }

  /** A consumer that holds no more than `slots` messages, also where the server pushes: the rest stays in the queue. */
  consumeOnly(slots: number, broker = this.broker): Promise<Hands> {
    return this.consume({ slots, maxInHand: slots }, broker);
  }

  /** Ends the consumer as a crash of its process does, as far as the broker under test can. Only for a broker of its own. */
  async crash(hands: Hands, broker: Broker): Promise<void> {
    if (this.#underTest.crash === undefined || this.#underTest.inProcess) {
      await hands.close();
      return;
    }
    this.#brokers.delete(broker);
    this.#hands.splice(this.#hands.indexOf(hands), 1);
    await this.patiently('crash to resolve', this.#underTest.crash(broker));
  }

  /** The same messages, in the same order where there is one. */
  same(deliveries: readonly Delivery[], names: readonly string[]): void {
    const got = labels(deliveries);
    if (this.ordered) assert.deepEqual(got, names);
    else assert.deepEqual(got.toSorted(), names.toSorted());
  }

  /**
   * Exactly these messages are delivered, and nothing else. Acknowledges and answers them, in the order in which they came.
   * @param withinMs how long they may take.
   */
  async exactly(names: readonly string[], hands?: Hands, withinMs = this.patienceMs): Promise<Delivery[]> {
    const taker = hands ?? (await this.consume());
    const taken: Delivery[] = [];
    let unsettled: Delivery[] = [];
    while (taken.length < names.length) {
      const want = Math.min(taker.slots, names.length - taken.length);
      unsettled = await taker.take(want, unsettled.map(ack), withinMs);
      taken.push(...unsettled);
    }
    await taker.settle(...unsettled.map(ack));
    this.same(taken, names);
    assert.deepEqual(labels(await this.rest(taker)), [], 'Expected nothing else in the queue');
    return taken;
  }

  /** All that is in the queue, acknowledged: a last message is published, and what comes before it is answered. */
  async rest(hands: Hands): Promise<Delivery[]> {
    const last = this.message('the last one', { queue: hands.queue });
    await this.publish(last);
    const all: Delivery[] = [];
    for (let unsettled: Delivery[] = []; !all.some(({ body }) => body === last.body); ) {
      unsettled = await hands.takeSome(unsettled.map(ack));
      all.push(...unsettled);
      if (all.some(({ body }) => body === last.body)) await hands.settle(...unsettled.map(ack));
    }
    if (!this.ordered) {
      const quiet = AbortSignal.timeout(Math.ceil(this.patienceMs * quietPart));
      while (!quiet.aborted) {
        const more = await hands.exchange([], hands.slots, quiet);
        all.push(...more);
        await hands.settle(...more.map(ack));
      }
    }
    return all.filter(({ body }) => body !== last.body);
  }

  /** Rejects with an AssertionError that names `what`, when it takes longer than the patience. */
  patiently<T>(what: string, promise: T | Promise<T>): Promise<T> {
    return started(within(this.patienceMs, what, Promise.resolve(promise)));
  }

  /** Rejects unless `promise` rejects with `code`. */
  async rejects(promise: Promise<unknown>, code: string): Promise<void> {
    await assert.rejects(this.patiently(`a rejection with ${code}`, promise), (error: unknown) => {
      assert.equal(codeOf(error), code, String(error));
      return true;
    });
  }

  /** Closes all that the case has made, and removes its queues. Does all of it, and then rejects with the first error. */
  async close(): Promise<void> {
    const errors: unknown[] = [];
    const attempt = async (what: string, close: () => Promise<unknown>) => {
      try {
        await this.patiently(what, close());
      } catch (error) {
        errors.push(error);
      }
    };
    for (const { consumer } of this.#hands) await attempt('a consumer to close', () => consumer.close());
    for (const broker of this.#brokers) await attempt('a broker to close', () => broker.close());
    for (const queue of this.#queues)
      await attempt('a queue to be removed', async () => this.#underTest.removeQueue?.(queue));
    if (errors.length > 0) throw errors[0];
  }

  async #create(): Promise<Broker> {
    const broker = await this.patiently('a broker to be created', this.#underTest.create());
    this.#brokers.add(broker);
    return broker;
  }
}

/** A name that no queue has had. */
export function unpreparedQueue(): string {
  return `conformance-${randomUUID()}`;
}

/** Resolves once Date.now() has reached `timeMs`. The one kind of sleep of the suite: for an ETA. */
export async function until(timeMs: number): Promise<void> {
  for (let left = timeMs - Date.now(); left > 0; left = timeMs - Date.now())
    await new Promise((resolve) => setTimeout(resolve, left));
}

/** Lets everything run that is ready to. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** `'1'` to `'<count>'`. */
export function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${index + 1}`);
}

function summary(outcome: Outcome): string {
  if (outcome.status !== 'failed') return outcome.status;
  return `failed ${codeOf(outcome.error)} ${outcome.retryable ? 'retryable' : 'for good'}`;
}

function codeOf(error: unknown): string {
  return MachineryError.is(error) ? error.code : `without a code of MachineryError: ${String(error)}`;
}
