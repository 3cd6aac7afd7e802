// How a mutant is made: the memory broker in a wrapper that does one thing wrong.

import type { Broker, Consumer, Delivery, Message, Settlement } from '@machinery/core';
import { MemoryBroker, type MemoryBrokerOptions } from '@machinery/core/memory';

interface Changes {
  readonly broker?: (inner: MemoryBroker) => { -readonly [Member in keyof Broker]?: Broker[Member] | undefined };
  readonly consumer?: (inner: Consumer, broker: MemoryBroker, queue: string) => Partial<Consumer>;
  readonly options?: MemoryBrokerOptions;
}

export const never = new AbortController().signal;
export const turn = () => new Promise((resolve) => setImmediate(resolve));
const inners = new WeakMap<Broker, MemoryBroker>();
export const innerOf = (broker: Broker) => inners.get(broker) as MemoryBroker;

export function mutate({ broker, consumer, options }: Changes): () => Broker {
  return () => {
    const inner = new MemoryBroker(options);
    const mutant: Broker = {
      contractVersion: inner.contractVersion,
      name: inner.name,
      capabilities: inner.capabilities,
      publish: (messages) => inner.publish(messages),
      async consume(wanted) {
        const real = await inner.consume(wanted);
        return {
          exchange: (settled, want, signal) => real.exchange(settled, want, signal),
          settle: (settled) => real.settle(settled),
          close: () => real.close(),
          ...consumer?.(real, inner, wanted.queue),
        };
      },
      pendingMessages: (queue, limit) => inner.pendingMessages(queue, limit),
      delayedMessages: (limit) => inner.delayedMessages(limit),
      close: () => inner.close(),
      ...(broker?.(inner) as Partial<Broker> | undefined),
    };
    inners.set(mutant, inner);
    return mutant;
  };
}

/** Every settlement through `change`, wherever it comes in. */
export const settlements = (change: (settlement: Settlement) => Settlement | undefined) =>
  mutate({
    consumer: (inner) => {
      const all = (settled: readonly Settlement[]) => settled.flatMap((settlement) => change(settlement) ?? []);
      return {
        exchange: (settled, want, signal) => inner.exchange(all(settled), want, signal),
        settle: (settled) => inner.settle(all(settled)),
      };
    },
  });

/** Every delivery as another object, whose fields `change` overrides. */
export const deliveries = (change: (delivery: Delivery) => Partial<Delivery>) =>
  mutate({
    consumer: (inner) => {
      const real = new Map<Delivery, Delivery>();
      const back = (settled: readonly Settlement[]): Settlement[] =>
        settled.map((it) => ({ ...it, delivery: real.get(it.delivery) ?? it.delivery }));
      return {
        async exchange(settled, want, signal) {
          const taken = await inner.exchange(back(settled), want, signal);
          return taken.map((delivery) => {
            const { body, redelivered, deliveryCount } = delivery;
            const other = { body, redelivered, deliveryCount: deliveryCount as number, ...change(delivery) };
            real.set(other, delivery);
            return other;
          });
        },
        settle: (settled) => inner.settle(back(settled)),
      };
    },
  });

export const publishes = (
  change: (messages: readonly Message[]) => readonly Message[],
  options?: MemoryBrokerOptions,
) =>
  mutate({
    broker: (inner) => ({ publish: (messages) => inner.publish(change(messages)) }),
    ...(options && { options }),
  });

export const copyOf = (body: string, routingKey: string): Message => ({
  body,
  routingKey,
  signature: { name: 'copy' },
});

export function countByBody() {
  const counts = new Map<string, number>();
  return deliveries(({ body }) => {
    counts.set(body, (counts.get(body) ?? 0) + 1);
    return { deliveryCount: counts.get(body) as number };
  });
}

/** A close that settles everything in hand by `settle` first. */
export const closingWith = (settle: (delivery: Delivery) => Settlement) =>
  mutate({
    consumer: (inner) => {
      const held = new Set<Delivery>();
      return {
        async exchange(settled, want, signal) {
          for (const { delivery } of settled) held.delete(delivery);
          const taken = await inner.exchange(settled, want, signal);
          for (const delivery of taken) held.add(delivery);
          return taken;
        },
        settle(settled) {
          for (const { delivery } of settled) held.delete(delivery);
          return inner.settle(settled);
        },
        async close() {
          await inner.settle([...held].map(settle));
          held.clear();
          await inner.close();
        },
      };
    },
  });

export const tight = { maxMessageBytes: 10_000 };

export interface Mutant {
  create(): Broker;
  /** The case that must find it. */
  readonly foundBy: string;
  readonly options?: MemoryBrokerOptions;
}

/** Mutants by what they do wrong. */
export type Mutants = Readonly<Record<string, Mutant>>;
