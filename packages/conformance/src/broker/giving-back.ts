// What comes back when a consumer ends with messages in hand: all of it, in order, as redeliveries, and counted.

import assert from 'node:assert/strict';
import type { Delivery } from '@machinery/core';
import { ack, labels, toFront } from './hands.ts';
import { numbered } from './scene.ts';
import type { Suite } from './suite.ts';

export function givingBack({ it, ordered, shared, capabilities }: Suite): void {
  /** A message that was handed out `times` times before is a redelivery, and counted where the broker counts. */
  const isRedelivery = ({ body, redelivered, deliveryCount }: Delivery, times = 1): void => {
    assert.equal(redelivered, true, `redelivered of ${labels([{ body }])}`);
    assert.equal(
      deliveryCount,
      capabilities.deliveryCount ? times + 1 : undefined,
      `deliveries of ${labels([{ body }])}`,
    );
  };

  it('gives back at once, in order and as redeliveries, what a closed consumer had not settled', async (scene) => {
    const hands = await scene.consumeOnly(4);
    await scene.publish(...numbered(4));
    const [a, b, c, d] = await hands.take(4);
    await hands.settle(ack(b));
    await hands.close();
    const again = await scene.exactly(labels([a, c, d]));
    for (const delivery of again) isRedelivery(delivery);
  });

  if (ordered) {
    it('gives back to the front: what nobody had taken yet stays behind', async (scene) => {
      const hands = await scene.consumeOnly(2);
      await scene.publish(...numbered(5));
      await hands.take(2);
      await hands.close();
      const again = await scene.exactly(numbered(5));
      for (const delivery of again.slice(0, 2)) isRedelivery(delivery);
    });

    it('restores the order when several consumers give back, whoever is first', async (scene) => {
      const [a, b] = [await scene.consumeOnly(2), await scene.consumeOnly(2)];
      await scene.publish(...numbered(6));
      await Promise.all([a.take(2), b.take(2)]);
      await a.close();
      await b.close();
      await scene.exactly(numbered(6));
    });
  }

  it('hands what a closed consumer had to one that waits', async (scene) => {
    const hands = await scene.consumeOnly(2);
    await scene.publish(...numbered(2));
    await hands.take(2);
    const other = await scene.consume();
    const waiting = other.take(2, [], 2 * scene.patienceMs);
    await hands.close();
    const again = await waiting;
    scene.same(again, numbered(2));
    for (const delivery of again) isRedelivery(delivery);
  });

  it('counts each time that a message was not settled', async (scene) => {
    await scene.publish('1');
    for (let times = 0; times < 4; times++) {
      const hands = await scene.consumeOnly(1);
      const delivery = await hands.takeOne();
      if (times > 0) isRedelivery(delivery, times);
      await hands.close();
    }
  });

  it('does not give back what was requeued before', async (scene) => {
    const hands = await scene.consumeOnly(2);
    await scene.publish(...numbered(2));
    const [a] = await hands.take(2);
    await hands.settle(toFront(a));
    await hands.close();
    await scene.exactly(numbered(2));
  });

  it('gives back what an exchange took while its consumer was being closed', async (scene) => {
    const rounds = 10;
    for (let round = 1; round <= rounds; round++) {
      const hands = await scene.consumeOnly(1);
      const waiting = hands.consumer.exchange([], 1, new AbortController().signal);
      // It may end with a message (which is given back), with nothing, or refuse, but it must end.
      const ended = scene.patiently(
        'an exchange to end when its consumer is closed',
        waiting.catch(() => []),
      );
      const published = scene.publish(`${round}`);
      if (round % 2 === 0) await published;
      await hands.close();
      await Promise.all([published, ended]);
    }
    const hands = await scene.consume();
    assert.deepEqual(labels(await hands.take(rounds)).toSorted(), numbered(rounds).toSorted());
  });

  it('delivers again, in order and as redeliveries, what a consumer had that vanished', async (scene) => {
    const broker = await scene.anotherBroker();
    const hands = await scene.consumeOnly(3, broker);
    await scene.publish(...numbered(3));
    const held = await hands.take(3);
    await scene.crash(hands, broker);
    const again = await scene.exactly(labels(held), await scene.consume(), scene.redeliveryMs);
    for (const delivery of again) isRedelivery(delivery);
  });

  it('does not deliver again what a consumer had acknowledged that vanished', async (scene) => {
    const broker = await scene.anotherBroker();
    const hands = await scene.consumeOnly(3, broker);
    await scene.publish(...numbered(3));
    const [a, b, c] = await hands.take(3);
    await hands.settle(ack(a));
    await hands.settle(ack(c));
    await scene.crash(hands, broker);
    await scene.exactly(labels([b]), await scene.consume(), scene.redeliveryMs);
  });

  it('delivers to others what lies in the queue while the messages of one that vanished are missing', async (scene) => {
    const broker = await scene.anotherBroker();
    const hands = await scene.consumeOnly(1, broker);
    await scene.publish('1');
    await hands.takeOne();
    await scene.crash(hands, broker);
    const other = await scene.consume();
    await scene.publish('2', '3');
    const first = await other.take(2);
    const last = await other.takeOne(first.map(ack), scene.redeliveryMs);
    assert.deepEqual(labels([...first, last]).toSorted(), numbered(3));
  });

  if (shared) {
    it('gives back what the consumers of a broker had that is closed', async (scene) => {
      const broker = await scene.anotherBroker();
      const hands = await scene.consumeOnly(2, broker);
      await scene.publish(...numbered(2));
      const held = await hands.take(2);
      await scene.patiently('the broker to close', broker.close());
      const again = await scene.exactly(labels(held), await scene.consume(), scene.redeliveryMs);
      for (const { redelivered } of again) assert.equal(redelivered, true);
    });
  }
}
