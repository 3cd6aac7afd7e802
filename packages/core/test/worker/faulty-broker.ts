// The memory broker with a journal of what passes, and with hooks that may fail, delay or repeat a call. Each hook gets
// the call's arguments and `next`, which makes the call.

import type { Broker, ConsumeOptions, Consumer, Delivery, Message, Settlement } from '../../src/broker.ts';
import { contractVersion } from '../../src/contract-version.ts';
import { MachineryError } from '../../src/errors.ts';
import { MemoryBroker, type MemoryBrokerOptions } from '../../src/memory/memory-broker.ts';
import { failed, type Outcome } from '../../src/outcome.ts';
import type { Signature } from '../../src/signature.ts';
import { decodeSignature } from '../../src/wire/signature-codec.ts';
import { Journal, nextTurn } from './journal.ts';

export const brokerAway = () => new MachineryError('ERR_MACHINERY_BROKER_UNAVAILABLE', 'The broker is away');
export const refusedForGood = () => new MachineryError('ERR_MACHINERY_BROKER_FAILED', 'Refused for good');

export class FaultyBroker implements Broker {
  readonly contractVersion = contractVersion;
  readonly name = 'FaultyBroker';
  readonly memory: MemoryBroker;
  readonly capabilities;
  /** What was stored, decoded. */
  readonly published = new Journal<Signature>();
  /** What was settled. */
  readonly settled = new Journal<Settlement>();
  /** How often each call was made. */
  readonly calls = { publish: 0, consume: 0, exchange: 0, settle: 0, close: 0 };
  /** How many messages each exchange asked for. */
  readonly wants = new Journal<number>();
  /** What consumers have taken and not settled. */
  readonly inHand = new Set<Delivery>();
  /** What the last consume asked for. */
  consumed: ConsumeOptions | undefined;

  onPublish: (messages: readonly Message[], next: () => Promise<Outcome[]>) => Promise<Outcome[]> = (_, next) => next();
  onConsume: (next: () => Promise<Consumer>) => Promise<Consumer> = (next) => next();
  onExchange: (settled: readonly Settlement[], next: () => Promise<Delivery[]>) => Promise<Delivery[]> = (_, next) =>
    next();
  onPing: () => Promise<void> = async () => {};
  onSettle: (settled: readonly Settlement[], next: () => Promise<void>) => Promise<void> = (_, next) => next();

  constructor(options: MemoryBrokerOptions = {}) {
    this.memory = new MemoryBroker(options);
    this.capabilities = this.memory.capabilities;
  }

  publish(messages: readonly Message[]): Promise<Outcome[]> {
    this.calls.publish++;
    return this.onPublish(messages, async () => {
      const outcomes = await this.memory.publish(messages);
      messages.forEach(({ body }, i) => {
        if (outcomes[i]?.status === 'stored') this.published.add(decodeSignature(body));
      });
      return outcomes;
    });
  }

  ping(): Promise<void> {
    return this.onPing();
  }

  consume(options: ConsumeOptions): Promise<Consumer> {
    this.calls.consume++;
    this.consumed = options;
    return this.onConsume(async () => this.#wrap(await this.memory.consume(options)));
  }

  #wrap(consumer: Consumer): Consumer {
    const mine = new Set<Delivery>();
    const note = (settled: readonly Settlement[]) => {
      for (const settlement of settled) {
        mine.delete(settlement.delivery);
        this.inHand.delete(settlement.delivery);
        this.settled.add(settlement);
      }
    };
    return {
      exchange: (settled, want, signal) => {
        this.calls.exchange++;
        this.wants.add(want);
        return this.onExchange(settled, async () => {
          const exchanged = consumer.exchange(settled, want, signal);
          note(settled);
          const taken = await exchanged;
          for (const delivery of taken) {
            mine.add(delivery);
            this.inHand.add(delivery);
          }
          return taken;
        });
      },
      settle: (settled) => {
        this.calls.settle++;
        return this.onSettle(settled, async () => {
          await consumer.settle(settled);
          note(settled);
        });
      },
      close: () => {
        this.calls.close++;
        for (const delivery of mine) this.inHand.delete(delivery);
        return consumer.close();
      },
    };
  }

  /** The next `times` publishes are answered so, and store nothing. */
  failPublishes(times: number, outcome: Outcome = failed(brokerAway(), true)): void {
    this.onPublish = async (messages, next) => (times-- > 0 ? messages.map(() => outcome) : next());
  }

  /** Publishes bodies as they are, as another program would. */
  async put(body: string, queue = 'q'): Promise<void> {
    await this.memory.publish([{ body, routingKey: queue, signature: { name: 'from another program' } }]);
  }

  /** Puts a message as if `times` workers had taken it and died. Nobody may consume the queue. */
  async putRedelivered(body: string, times = 1, queue = 'q'): Promise<void> {
    await this.put(body, queue);
    for (let i = 0; i < times; i++) {
      const consumer = await this.memory.consume({ queue, tag: 'dies', slots: 1, maxInHand: 1 });
      await consumer.exchange([], 1, new AbortController().signal);
      await consumer.close();
    }
  }

  /** Resolves when nothing waits, is delayed or in hand. */
  async idle(queue = 'q'): Promise<void> {
    const isIdle = async () => {
      const waiting = await Promise.all([this.memory.pendingMessages(queue, 1), this.memory.delayedMessages(1)]);
      return waiting.flat().length + this.inHand.size === 0;
    };
    // Twice: between two looks, something may have been on its way from one place to the next.
    while (!(await isIdle()) || !(await isIdle())) await nextTurn();
  }

  pendingMessages(queue: string, limit: number): Promise<string[]> {
    return this.memory.pendingMessages(queue, limit);
  }

  delayedMessages(limit: number): Promise<string[]> {
    return this.memory.delayedMessages(limit);
  }

  close(): Promise<void> {
    return this.memory.close();
  }
}
