// A consumer in the hands of a case: it takes with patience, and holds every answer of `exchange` to what is true of all.

import assert from 'node:assert/strict';
import type { Consumer, Delivery, Settlement } from '@machinery/core';
import { within } from '../runner.ts';

/** What was taken. Typed as at least six, so that cases can name the few that they take. */
type Taken = [Delivery, Delivery, Delivery, Delivery, Delivery, Delivery, ...Delivery[]];

export class Hands {
  readonly consumer: Consumer;
  readonly queue: string;
  /** How many messages it may hold at least. */
  readonly slots: number;
  readonly #patienceMs: number;

  constructor(consumer: Consumer, queue: string, slots: number, patienceMs: number) {
    this.consumer = consumer;
    this.queue = queue;
    this.slots = slots;
    this.#patienceMs = patienceMs;
  }

  /** One exchange, that must end within the patience after `signal` has aborted, or within `waitMs`. */
  exchange(
    settled: readonly Settlement[],
    want: number,
    signal: AbortSignal,
    waitMs = this.#patienceMs,
  ): Promise<Delivery[]> {
    return started(this.#exchange(settled, want, signal, waitMs));
  }

  async #exchange(
    settled: readonly Settlement[],
    want: number,
    signal: AbortSignal,
    waitMs: number,
  ): Promise<Delivery[]> {
    const got = await within(
      waitMs + this.#patienceMs,
      'an exchange to resolve once its signal has aborted',
      this.consumer.exchange(settled, want, signal),
    );
    assert.ok(got.length <= want, `Expected at most ${want} messages, got ${got.length}: ${labels(got)}`);
    if (got.length === 0) {
      assert.ok(signal.aborted, 'Expected exchange to wait for a message or for its signal, it resolved with nothing');
    }
    return got;
  }

  /** At least one message. */
  async takeSome(settled: readonly Settlement[] = [], withinMs = this.#patienceMs): Promise<Delivery[]> {
    const got = await this.exchange(settled, this.slots, AbortSignal.timeout(withinMs), withinMs);
    assert.ok(got.length > 0, `Expected a message of queue ${this.queue} within ${withinMs} ms`);
    return got;
  }

  /** Exactly `count` messages, in as many exchanges as the broker likes. */
  take(count: number, settled: readonly Settlement[] = [], withinMs = this.#patienceMs): Promise<Taken> {
    return started(this.#take(count, settled, withinMs));
  }

  async #take(count: number, settled: readonly Settlement[], withinMs: number): Promise<Taken> {
    const taken: Delivery[] = [];
    const patience = AbortSignal.timeout(withinMs);
    for (let settlements = settled; taken.length < count && !patience.aborted; settlements = [])
      taken.push(...(await this.exchange(settlements, count - taken.length, patience, withinMs)));
    assert.equal(
      taken.length,
      count,
      `Expected ${count} messages of queue ${this.queue} within ${withinMs} ms, got ${taken.length}: ${labels(taken)}`,
    );
    return taken as unknown as Taken;
  }

  takeOne(settled: readonly Settlement[] = [], withinMs = this.#patienceMs): Promise<Delivery> {
    return started(this.take(1, settled, withinMs).then(([first]) => first));
  }

  settle(...settled: readonly Settlement[]): Promise<void> {
    return within(this.#patienceMs, 'settle to resolve', this.consumer.settle(settled));
  }

  close(): Promise<void> {
    return within(this.#patienceMs, 'a consumer to close', this.consumer.close());
  }
}

/** A promise that a case looks at later, or not at all when it fails before: its rejection is no unhandled one. */
export function started<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** The next messages, acknowledged, each with its name and the time at which it came. */
export function arrivals(hands: Hands, count: number): Promise<{ readonly name: string; readonly atMs: number }[]> {
  const arrive = async () => {
    const got: { name: string; atMs: number }[] = [];
    while (got.length < count) {
      const some = await hands.takeSome();
      const atMs = Date.now();
      got.push(...some.map(({ body }) => ({ name: label(body), atMs })));
      await hands.settle(...some.map(ack));
    }
    return got;
  };
  return started(arrive());
}

export function ack(delivery: Delivery): Settlement {
  return { kind: 'ack', delivery };
}

/** Back to its old place, without having begun. */
export function toFront(delivery: Delivery): Settlement {
  return { kind: 'requeue', delivery, position: 'front' };
}

/** Back to its old place, after its task had begun. */
export function begun(delivery: Delivery): Settlement {
  return { kind: 'requeue', delivery, position: 'front', begun: true };
}

export function toBack(delivery: Delivery, delayMs?: number): Settlement {
  return { kind: 'requeue', delivery, position: 'back', ...(delayMs !== undefined && { delayMs }) };
}

export function dead(delivery: Delivery, reason = 'the conformance suite wants it dead'): Settlement {
  return { kind: 'dead', delivery, reason };
}

/** The name of the signature in a body. */
export function label(body: string): string {
  return (JSON.parse(body) as { Name: string }).Name;
}

export function labels(deliveries: readonly { readonly body: string }[]): string[] {
  return deliveries.map(({ body }) => label(body));
}
