// What a FaultyBroker does to the calls that are to fail, and that it is a broker like any other while none is.

import { type Delivery, failed, type Message, type Outcome } from '@machinery/core';
import { MemoryBroker } from '@machinery/core/memory';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testBroker } from '../src/broker/index.ts';
import { FaultyBroker } from '../src/faults/index.ts';

const never = new AbortController().signal;
const consumed = { queue: 'q', tag: 't', slots: 10, maxInHand: 10 };
const away = { code: 'ERR_MACHINERY_BROKER_UNAVAILABLE' };

function message(body: string): Message {
  return { body, routingKey: 'q', signature: { name: body } };
}

function brokers(): { memory: MemoryBroker; broker: FaultyBroker } {
  const memory = new MemoryBroker();
  return { memory, broker: new FaultyBroker(memory) };
}

const statuses = (outcomes: readonly Outcome[]) => outcomes.map(({ status }) => status);
const bodies = (deliveries: readonly Delivery[]) => deliveries.map(({ body }) => body);

describe('a FaultyBroker without faults', () => {
  const runner = { describe, it, before: beforeAll, after: afterAll };
  testBroker(runner, {
    create: () => new FaultyBroker(new MemoryBroker()),
    declares: new MemoryBroker().capabilities,
    inProcess: true,
  });
});

describe('a FaultyBroker', () => {
  it('fails the n-th call before it was carried out', async () => {
    const { memory, broker } = brokers();
    broker.faults.fail('publish', { nth: 2 });
    expect(statuses(await broker.publish([message('a')]))).toEqual(['stored']);
    await expect(broker.publish([message('b')])).rejects.toMatchObject(away);
    expect(statuses(await broker.publish([message('c')]))).toEqual(['stored']);
    expect(await memory.pendingMessages('q', 10)).toEqual(['a', 'c']);
    expect(broker.calls.publish).toBe(3);
    expect(broker.messagesPublished).toBe(3);
  });

  it('fails calls after they were carried out', async () => {
    const { memory, broker } = brokers();
    broker.faults.fail('publish', { moment: 'after', times: 2 });
    await expect(broker.publish([message('a')])).rejects.toMatchObject(away);
    await expect(broker.publish([message('b')])).rejects.toMatchObject(away);
    await broker.publish([message('c')]);
    expect(await memory.pendingMessages('q', 10)).toEqual(['a', 'b', 'c']);
  });

  it('answers `failed`, to be tried again, or `unknown` after a message was stored', async () => {
    const { memory, broker } = brokers();
    broker.faults.fail('publish', { answered: true });
    broker.faults.fail('publish', { nth: 2, answered: true, moment: 'after' });
    expect(await broker.publish([message('a')])).toMatchObject([{ status: 'failed', retryable: true, error: away }]);
    expect(await broker.publish([message('b')])).toMatchObject([{ status: 'unknown', error: away }]);
    expect(await memory.pendingMessages('q', 10)).toEqual(['b']);
  });

  it('refuses single messages, and the others of their batch pass', async () => {
    const { memory, broker } = brokers();
    const error = new Error('refused');
    broker.refuse = ({ body }) => (body === 'b' ? failed(error, false) : undefined);
    const outcomes = await broker.publish(['a', 'b', 'c'].map(message));
    expect(statuses(outcomes)).toEqual(['stored', 'failed', 'stored']);
    expect(outcomes[1]).toEqual(failed(error, false));
    expect(await memory.pendingMessages('q', 10)).toEqual(['a', 'c']);
    expect(broker.mostPublishing).toBe(3);
  });

  it('hands out later, and as no redelivery, what an exchange took whose answer was lost', async () => {
    const { memory, broker } = brokers();
    const consumer = await broker.consume(consumed);
    await broker.publish(['a', 'b', 'c'].map(message));
    broker.faults.fail('exchange', { moment: 'after' });
    await expect(consumer.exchange([], 2, never)).rejects.toMatchObject(away);
    const first = await consumer.exchange([], 1, never);
    expect(first).toMatchObject([{ body: 'a', redelivered: false }]);
    const ack = first.map((delivery) => ({ kind: 'ack', delivery }) as const);
    expect(bodies(await consumer.exchange(ack, 5, never))).toEqual(['b']);
    expect(bodies(await consumer.exchange([], 5, never))).toEqual(['c']);
    await consumer.close();
    expect(await memory.pendingMessages('q', 10)).toEqual(['b', 'c']);
  });

  it('gives back what an exchange took whose answer was lost when its consumer closes', async () => {
    const { memory, broker } = brokers();
    const consumer = await broker.consume(consumed);
    await broker.publish([message('a')]);
    broker.faults.fail('exchange', { moment: 'after' });
    await expect(consumer.exchange([], 1, never)).rejects.toMatchObject(away);
    await consumer.close();
    expect(await memory.pendingMessages('q', 10)).toEqual(['a']);
  });

  it('ends the wait of an exchange when an outage begins, and refuses all calls until it is restored', async () => {
    const { memory, broker } = brokers();
    const consumer = await broker.consume(consumed);
    const waiting = consumer.exchange([], 1, never);
    broker.faults.outage();
    await expect(waiting).rejects.toMatchObject(away);
    await expect(broker.publish([message('a')])).rejects.toMatchObject(away);
    await expect(broker.consume(consumed)).rejects.toMatchObject(away);
    await expect(consumer.settle([])).rejects.toMatchObject(away);
    await expect(broker.pendingMessages?.('q', 1)).rejects.toMatchObject(away);
    await memory.publish([message('b')]);
    broker.faults.restore();
    expect(bodies(await consumer.exchange([], 1, never))).toEqual(['b']);
  });

  it('keeps the promises of a consumer while it fails: a signal ends an exchange with what it has', async () => {
    const { broker } = brokers();
    const consumer = await broker.consume(consumed);
    const stop = new AbortController();
    const waiting = consumer.exchange([], 1, stop.signal);
    stop.abort();
    expect(await waiting).toEqual([]);
  });

  it('begins an outage at the n-th call of all, before or after that was carried out', async () => {
    const { memory, broker } = brokers();
    let begun = 0;
    await broker.publish([message('a')]);
    broker.faults.outageAt({ nth: 2, moment: 'after', onBegin: () => begun++ });
    await broker.publish([message('b')]);
    await expect(broker.publish([message('c')])).rejects.toMatchObject(away);
    await expect(broker.publish([message('d')])).rejects.toMatchObject(away);
    expect(begun).toBe(1);
    expect(await memory.pendingMessages('q', 10)).toEqual(['a', 'b', 'c']);
  });

  it('leaves no consumer behind when the answer to `consume` was lost', async () => {
    const { memory, broker } = brokers();
    broker.faults.fail('consume', { moment: 'after' });
    await expect(broker.consume(consumed)).rejects.toMatchObject(away);
    await memory.publish([message('a')]);
    expect(bodies(await (await broker.consume(consumed)).exchange([], 1, never))).toEqual(['a']);
  });

  it('fails at random, the same calls with the same seed', async () => {
    const fates = async (seed: number) => {
      const { broker } = brokers();
      broker.faults.failAtRandom({ rate: 0.5, seed });
      const fate = () => broker.publish([message('a'), message('b')]).then(statuses, () => 'rejected');
      const all = [];
      for (let i = 0; i < 50; i++) all.push(await fate());
      return JSON.stringify(all);
    };
    const [one, again, other] = [await fates(1), await fates(1), await fates(2)];
    expect(again).toBe(one);
    expect(other).not.toBe(one);
    for (const fate of ['stored', 'rejected', 'failed', 'unknown']) expect(one).toContain(fate);
  });

  it('fails at random only the calls that it is told to', async () => {
    const { broker } = brokers();
    broker.faults.failAtRandom({ rate: 1, seed: 1, calls: ['settle'] });
    const consumer = await broker.consume(consumed);
    await broker.publish([message('a')]);
    expect(bodies(await consumer.exchange([], 1, never))).toEqual(['a']);
    await expect(consumer.settle([])).rejects.toMatchObject(away);
  });

  it('has the optional members that its broker has, and declares what it is told to', async () => {
    const { memory } = brokers();
    expect(new FaultyBroker(memory, { maxPublishBatch: 1 }).capabilities).toEqual({
      ...memory.capabilities,
      maxPublishBatch: 1,
    });
    const bare = new FaultyBroker({ ...memoryWithoutLists(memory) });
    expect(bare.pendingMessages).toBeUndefined();
    expect(bare.defaultRoutingKey).toBeUndefined();
  });
});

function memoryWithoutLists(memory: MemoryBroker) {
  const { contractVersion, name, capabilities } = memory;
  return {
    contractVersion,
    name,
    capabilities,
    publish: (messages: readonly Message[]) => memory.publish(messages),
    consume: () => memory.consume(consumed),
    close: () => memory.close(),
  };
}
