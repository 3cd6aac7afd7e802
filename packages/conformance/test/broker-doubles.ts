// Brokers with the habits of real transports, over the memory broker as their server: several brokers on one server that
// crash and close by themselves, servers that push, queues without order, queues that must be prepared.

import {
  type Broker,
  type BrokerCapabilities,
  type Consumer,
  type Delivery,
  failed,
  MachineryError,
  type Outcome,
  type Settlement,
} from '@machinery/core';
import { MemoryBroker, type MemoryBrokerOptions } from '@machinery/core/memory';
import type { BrokerUnderTest } from '../src/broker/index.ts';

export interface Habits extends Partial<BrokerUnderTest> {
  readonly declares: BrokerCapabilities;
  readonly prepared?: boolean;
  /** What a faulty one does wrong. */
  readonly fault?:
    | 'keeps after close'
    | 'closes all'
    | 'hurries'
    | 'delays by itself'
    | 'forgets the crashed'
    | 'no flag';
}

/** How long the server holds what a crashed broker had, in milliseconds. */
const leaseMs = 50;
const turn = () => new Promise((resolve) => setImmediate(resolve));
const closedError = () => new MachineryError('ERR_MACHINERY_CLOSED', 'The double is closed');

export function doubleOf({ prepared = false, fault, ...habits }: Habits): BrokerUnderTest {
  const { maxDelayMs, maxMessageBytes } = habits.declares;
  const options: MemoryBrokerOptions = {
    ...(maxDelayMs !== undefined && { maxDelayMs }),
    ...(maxMessageBytes !== undefined && { maxMessageBytes }),
  };
  const server = new MemoryBroker(options);
  const queues = new Set<string>();
  const all = new Set<() => Promise<void>>();
  const crashes = new WeakMap<Broker, () => void>();
  const create = (): Broker => {
    const consumers = new Set<Consumer>();
    const publishing = new Set<Promise<unknown>>();
    let closed = false;
    let crashed = false;
    const timers: NodeJS.Timeout[] = [];
    const publish: Broker['publish'] = async (messages) => {
      if (closed) return messages.map(() => failed(closedError(), false));
      const outcomes: Outcome[] = [];
      const order = messages.map((_, i) => i);
      if (habits.unordered) order.sort(() => Math.random() - 0.5);
      const store = async () => {
        await turn();
        for (const i of order) {
          const message = messages[i] as (typeof messages)[number];
          const missing = prepared && !queues.has(message.routingKey);
          const { dueAtMs, ...now } = message;
          if (missing) outcomes[i] = failed(new MachineryError('ERR_MACHINERY_BROKER_FAILED', 'No such queue'), false);
          else if (fault === 'delays by itself' && dueAtMs !== undefined) {
            timers.push(setTimeout(() => void server.publish([now]), dueAtMs - Date.now()));
            outcomes[i] = { status: 'stored' };
          } else [outcomes[i]] = (await server.publish([message])) as [Outcome];
        }
      };
      const stored = store();
      publishing.add(stored);
      await stored.finally(() => publishing.delete(stored));
      return closed && fault === 'hurries' ? messages.map(() => failed(closedError(), false)) : outcomes;
    };
    const close = async () => {
      closed = true;
      for (const timer of timers) clearTimeout(timer);
      if (fault !== 'hurries') await Promise.all(publishing);
      if (fault !== 'keeps after close') await Promise.all([...consumers].map((it) => it.close()));
    };
    const broker: Broker = {
      contractVersion: server.contractVersion,
      name: 'double',
      capabilities: Object.freeze({ ...habits.declares }),
      publish,
      async consume(wanted) {
        if (closed) throw closedError();
        if (prepared && !queues.has(wanted.queue))
          throw new MachineryError('ERR_MACHINERY_BROKER_FAILED', 'No such queue');
        const real = await server.consume(wanted);
        const consumer = adapt(real, wanted.maxInHand, habits, () => crashed, fault === 'no flag');
        consumers.add(consumer);
        return consumer;
      },
      ...(habits.declares.listPending && { pendingMessages: (queue, limit) => server.pendingMessages(queue, limit) }),
      ...(habits.declares.listDelayed && { delayedMessages: (limit) => server.delayedMessages(limit) }),
      close: fault === 'closes all' ? async () => void (await Promise.all([...all].map((one) => one()))) : close,
    };
    all.add(close);
    crashes.set(broker, () => {
      crashed = true;
      if (fault === 'forgets the crashed') return;
      setTimeout(() => {
        for (const consumer of consumers) void consumer.close();
      }, leaseMs);
    });
    return broker;
  };
  return {
    create,
    crash: async (broker) => crashes.get(broker)?.(),
    ...(prepared && {
      prepareQueue: async (queue: string) => void queues.add(queue),
      removeQueue: async (queue: string) => void queues.delete(queue),
    }),
    redeliveryMs: 1_000,
    patienceMs: 2_000,
    ...habits,
  };
}

/** Buffers what the server pushes, and says of deliveries what its habits say. */
function adapt(real: Consumer, maxInHand: number, habits: Habits, isCrashed: () => boolean, noFlag: boolean): Consumer {
  const { pushes, deliveryCount } = habits.declares;
  const inHand = new Map<Delivery, Delivery>();
  const buffer: Delivery[] = [];
  const ending = new AbortController();
  let pumping: Promise<void> | undefined;
  let wake: (() => void) | undefined;

  const handOut = (delivery: Delivery): Delivery => {
    const { body } = delivery;
    const redelivered = !noFlag && (habits.flagsFirstDeliveries === true || delivery.redelivered);
    const other = { body, redelivered, ...(deliveryCount && { deliveryCount: delivery.deliveryCount as number }) };
    inHand.set(other, delivery);
    return other;
  };
  const settle = async (settled: readonly Settlement[]) => {
    const known = settled.flatMap((it) => {
      const delivery = inHand.get(it.delivery);
      inHand.delete(it.delivery);
      if (delivery === undefined) return [];
      const begun = habits.countsRequeues && it.kind === 'requeue' && it.position === 'front';
      return [begun ? { ...it, delivery, begun: true } : { ...it, delivery }];
    });
    await real.settle(known as Settlement[]);
    if (pushes) pump();
  };
  const pump = () => {
    pumping ??= (async () => {
      for (;;) {
        const free = maxInHand - inHand.size - buffer.length;
        if (free <= 0 || ending.signal.aborted) break;
        buffer.push(...(await real.exchange([], free, ending.signal)));
        wake?.();
      }
    })().finally(() => {
      pumping = undefined;
    });
  };
  if (pushes) pump();
  return {
    async exchange(settled, want, signal) {
      await settle(settled);
      if (!pushes) return (await real.exchange([], want, signal)).map(handOut);
      if (ending.signal.aborted) throw closedError();
      pump();
      if (buffer.length === 0 && !signal.aborted)
        await new Promise<void>((resolve) => {
          wake = resolve;
          for (const end of [signal, ending.signal]) end.addEventListener('abort', wake, { once: true });
        }).finally(() => {
          for (const end of [signal, ending.signal]) end.removeEventListener('abort', wake as () => void);
          wake = undefined;
        });
      return buffer.splice(0, isCrashed() ? 0 : want).map(handOut);
    },
    settle,
    async close() {
      ending.abort();
      await pumping;
      await real.close();
    },
  };
}
