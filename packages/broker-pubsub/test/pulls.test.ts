// What pulls bring that nobody waits for any more, and messages of one ordering key that a pull brings together.

import type { Delivery } from '@machinery/core';
import { pubsubServer } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import { Admin, closeAll, consume, message, newQueue, open, take, takeWithin, uuidOf } from './setup.ts';

const pubsub = await pubsubServer();
const host = pubsub?.host as string;
const admin = pubsub && new Admin(host);
afterAll(async () => {
  await closeAll();
  await admin?.close();
  await pubsub?.stop();
});

const never = () => new AbortController().signal;
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe.skipIf(admin === undefined).concurrent('pulls', { timeout: 20_000 }, () => {
  it('of a closed consumer give back at once what they bring', async () => {
    const queue = newQueue();
    await admin?.create(queue, { ackDeadlineSeconds: 60 });
    const broker = open(host);
    const consumer = await consume(broker, queue);
    const waiting = consumer.exchange([], 10, never());
    await turn();
    await consumer.close();
    expect(await waiting).toEqual([]);
    await broker.publish([message(queue, '1')]);
    const again = await take(await consume(open(host), queue), 1, 5_000);
    expect(again.map(uuidOf)).toEqual(['1']);
    expect(again[0]?.redelivered).toBe(false);
  });

  it.each([
    ['consumer', 'around a publish'],
    ['broker', 'just after one'],
  ])('lose nothing when their %s is closed %s', async (closing) => {
    const producer = open(host);
    const rounds = Array.from({ length: 24 }, async (_, round) => {
      const queue = newQueue();
      await admin?.create(queue, { ackDeadlineSeconds: 60 });
      const broker = open(host);
      const consumer = await consume(broker, queue);
      const waiting = consumer.exchange([], 10, never());
      const published = producer.publish([message(queue, '1')]);
      // The close comes before the message, with it, or after it. What is published as a broker closes may wait for the ack deadline.
      if (closing === 'broker') await published;
      for (let step = 0; step < round % 12; step++) await turn();
      await (closing === 'broker' ? broker : consumer).close();
      await waiting;
      await published;
      const again = await take(await consume(open(host), queue), 1, 8_000);
      return again.length;
    });
    expect(await Promise.all(rounds)).toEqual(rounds.map(() => 1));
  });

  it('bring several messages of a key, of which one at a time is handed out', async () => {
    const queue = newQueue();
    await admin?.create(queue, { ackDeadlineSeconds: 60 }); // the fake hands out one of a key where a subscription is ordered, unlike the service
    const broker = open(host);
    const messages = ['a1', 'b1', 'a2', 'b2', 'a3', 'b3'].map((uuid) =>
      message(queue, uuid, { signature: { name: 'task', brokerMessageGroupId: uuid[0] as string } }),
    );
    expect(await broker.publish(messages)).toEqual(messages.map(() => ({ status: 'stored' })));
    const consumer = await consume(broker, queue);
    const keysOf = (deliveries: readonly Delivery[]) => deliveries.map((delivery) => uuidOf(delivery)[0]).toSorted();
    let inHand = await take(consumer, 2, 5_000);
    expect(keysOf(inHand)).toEqual(['a', 'b']);
    expect(await takeWithin(consumer, 300)).toEqual([]);

    const done = inHand.find((delivery) => uuidOf(delivery).startsWith('a')) as Delivery;
    await consumer.settle([{ kind: 'ack', delivery: done }]);
    const next = await take(consumer, 1, 5_000);
    expect(keysOf(next)).toEqual(['a']);

    inHand = [...inHand.filter((delivery) => delivery !== done), ...next];
    await consumer.settle(inHand.map((delivery) => ({ kind: 'requeue', position: 'front', delivery })));
    const other = await consume(open(host), queue); // which can have all that is left: what waited for them was given back, too
    await consumer.close();
    const left: string[] = [];
    while (left.length < 5) {
      const deliveries = await other.exchange([], 10, AbortSignal.timeout(5_000));
      expect(new Set(keysOf(deliveries)).size).toBe(deliveries.length);
      if (deliveries.length === 0) break;
      left.push(...deliveries.map(uuidOf));
      await other.settle(deliveries.map((delivery) => ({ kind: 'ack', delivery })));
    }
    expect([...left, uuidOf(done)].toSorted()).toEqual(['a1', 'a2', 'a3', 'b1', 'b2', 'b3']);
  });
});
