// Requeueing: to the old place or to the end, with or without a delay, and what the next delivery says of it.

import assert from 'node:assert/strict';
import type { Delivery } from '@machinery/core';
import { ack, arrivals, begun, label, labels, toBack, toFront } from './hands.ts';
import { numbered } from './scene.ts';
import type { Suite } from './suite.ts';

export function requeuing({ it, ordered, capabilities, underTest, delays }: Suite): void {
  /** The broker flags and counts a requeue as the contract wants it, not as its server does. */
  const chooses = underTest.countsRequeues !== true;
  const ways = { 'its old place': toFront, 'its old place, begun': begun, 'the end': toBack };

  for (const [where, requeue] of Object.entries(ways)) {
    it(`delivers again what is requeued to ${where}`, async (scene) => {
      const hands = await scene.consumeOnly(3);
      await scene.publish(...numbered(3));
      const [a, b, c] = await hands.take(3);
      await hands.settle(ack(a), requeue(b), ack(c));
      await scene.exactly(labels([b]), hands);
    });

    it(`hands what is requeued to ${where} to another consumer that waits`, async (scene) => {
      const hands = await scene.consumeOnly(1);
      await scene.publish('1');
      const delivery = await hands.takeOne();
      const other = await scene.consumeOnly(1);
      const waiting = other.takeOne([], 2 * scene.patienceMs);
      await hands.settle(requeue(delivery));
      // It may have been pushed to the same consumer again.
      if (capabilities.pushes) await hands.close();
      assert.equal((await waiting).body, delivery.body);
    });
  }

  if (ordered) {
    it('puts what is requeued to the front before all that waits, in the old order', async (scene) => {
      const hands = await scene.consumeOnly(3);
      await scene.publish(...numbered(5));
      await hands.settle(...(await hands.take(3)).map(toFront));
      await scene.exactly(numbered(5), hands);
    });

    it('puts what is requeued to the front to its old place, however the call is ordered', async (scene) => {
      const hands = await scene.consumeOnly(3);
      await scene.publish(...numbered(5));
      const [a, b, c] = await hands.take(3);
      await hands.settle(toFront(b), toFront(c), toFront(a));
      await hands.close();
      await scene.exactly(numbered(5));
    });

    it('keeps the order of what is requeued to the front around what is acknowledged', async (scene) => {
      const hands = await scene.consumeOnly(4);
      await scene.publish(...numbered(6));
      const [a, b, c, d] = await hands.take(4);
      await hands.settle(ack(b), toFront(a), ack(d), begun(c));
      await scene.exactly(['1', '3', '5', '6'], hands);
    });

    it('puts what is requeued to the back behind all that waits, in the order of the call', async (scene) => {
      const hands = await scene.consumeOnly(2);
      await scene.publish(...numbered(5));
      const [a, b] = await hands.take(2);
      await hands.settle(toBack(b), toBack(a));
      await scene.exactly(['3', '4', '5', '2', '1'], hands);
    });
  }

  it('delivers as a redelivery what had begun', async (scene) => {
    const hands = await scene.consume();
    await scene.publish('1');
    const again = await hands.takeOne([begun(await hands.takeOne())]);
    assert.equal(again.redelivered, true);
  });

  it('never forgets that a message had begun, however often it is requeued without', async (scene) => {
    const hands = await scene.consume();
    await scene.publish('1');
    let delivery = await hands.takeOne([begun(await hands.takeOne())]);
    for (const requeue of [toFront, toBack, toFront, toBack]) {
      delivery = await hands.takeOne([requeue(delivery)]);
      assert.equal(delivery.redelivered, true);
    }
  });

  it('never forgets that a consumer did not settle a message, however often it is requeued', async (scene) => {
    const first = await scene.consume();
    await scene.publish('1');
    await first.takeOne();
    await first.close();
    const hands = await scene.consume();
    let delivery = await hands.takeOne();
    for (const requeue of [toFront, toBack, toFront, toBack]) {
      delivery = await hands.takeOne([requeue(delivery)]);
      assert.equal(delivery.redelivered, true);
      if (capabilities.deliveryCount && chooses) assert.equal(delivery.deliveryCount, 2);
    }
  });

  if (chooses) {
    it('does not call it a redelivery when a message is requeued that had not begun', async (scene) => {
      const hands = await scene.consume();
      await scene.publish('1');
      let delivery = await hands.takeOne();
      for (const requeue of [toFront, toBack, toFront]) {
        delivery = await hands.takeOne([requeue(delivery)]);
        assert.equal(delivery.redelivered, underTest.flagsFirstDeliveries === true);
      }
    });
  }

  if (capabilities.deliveryCount) {
    it(chooses ? 'does not count a requeue as a delivery' : 'counts a requeue as its server does', async (scene) => {
      const hands = await scene.consume();
      await scene.publish('1');
      let delivery = await hands.takeOne();
      assert.equal(delivery.deliveryCount, 1);
      for (const requeue of [toFront, begun, toBack, toFront]) {
        delivery = await hands.takeOne([requeue(delivery)]);
        if (chooses) assert.equal(delivery.deliveryCount, 1);
        // A copy at the end of the queue may count from the start again.
        else assert.ok((delivery.deliveryCount as number) >= 1);
      }
    });
  }

  it('keeps the body of what is requeued', async (scene) => {
    const hands = await scene.consume();
    const message = scene.message('1', { text: 'Grüße 👩‍👩‍👧‍👦 \u0000 \u2028' });
    await scene.publish(message);
    let delivery = await hands.takeOne();
    for (const requeue of [toFront, toBack, begun, toBack, toFront]) {
      delivery = await hands.takeOne([requeue(delivery)]);
      assert.equal(delivery.body, message.body);
    }
  });

  if (capabilities.maxDelayMs === 0) {
    it('delivers again what is requeued with a delay that it cannot keep', async (scene) => {
      const hands = await scene.consume();
      await scene.publish('1');
      await hands.takeOne([toBack(await hands.takeOne(), 50)]);
    });
  }

  if (delays(5_000)) {
    it('delivers what is requeued with a delay not before it is over', async (scene) => {
      const hands = await scene.consume();
      const delaysMs = ['3', '20', '50', '80'];
      await scene.publish(...delaysMs);
      const held = await hands.take(delaysMs.length);
      const startMs = Date.now();
      await hands.settle(...held.map((delivery) => toBack(delivery, Number(label(delivery.body)))));
      const got = await arrivals(hands, delaysMs.length);
      for (const { name, atMs } of got) {
        const earlyMs = startMs + Number(name) - atMs;
        assert.ok(earlyMs <= 0, `The message requeued with a delay of ${name} ms came ${earlyMs} ms early`);
      }
      assert.deepEqual(got.map(({ name }) => name).toSorted(), delaysMs.toSorted());
    });

    it('does not keep other messages while one is requeued with a delay', async (scene) => {
      const hands = await scene.consumeOnly(1);
      await scene.publish(...numbered(3));
      const first = await hands.takeOne();
      const second = await hands.takeOne([toBack(first, 300)]);
      const third = await hands.takeOne([ack(second)]);
      const last = await hands.takeOne([ack(third)]);
      if (ordered) assert.deepEqual(labels([first, second, third, last]), ['1', '2', '3', '1']);
      else assert.equal(last.body, first.body);
    });

    it('keeps what is requeued with a delay when its consumer is closed', async (scene) => {
      const hands = await scene.consume();
      await scene.publish('1');
      await hands.settle(toBack(await hands.takeOne(), 50));
      await hands.close();
      await scene.exactly(['1'], await scene.consumeOnly(1));
    });

    it('says after a delay what it says after any requeue', async (scene) => {
      const first = await scene.consume();
      const isNew = ({ body }: Delivery) => label(body) === 'new';
      await scene.publish('new', 'redelivered');
      const taken = await first.take(2);
      await first.settle(...taken.filter(isNew).map((delivery) => toBack(delivery, 20)));
      await first.close();
      const hands = await scene.consume();
      const held = await hands.take(2);
      const again = await hands.take(
        2,
        held.map((delivery) => toBack(delivery, 20)),
      );
      for (const delivery of again) {
        const { redelivered, deliveryCount } = delivery;
        if (!isNew(delivery)) assert.equal(redelivered, true);
        else if (chooses) assert.equal(redelivered, underTest.flagsFirstDeliveries === true);
        if (capabilities.deliveryCount && chooses) assert.equal(deliveryCount, isNew(delivery) ? 1 : 2);
      }
    });
  }
}
