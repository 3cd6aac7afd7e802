// Taking: in order, at most what is wanted, as soon as there is anything, and waiting while there is nothing.

import assert from 'node:assert/strict';
import { ack, labels, toBack } from './hands.ts';
import { numbered, turn, unpreparedQueue } from './scene.ts';
import type { Suite } from './suite.ts';

const never = new AbortController().signal;

export function consuming({ it, ordered, capabilities, underTest }: Suite): void {
  it('hands out every message once, in the order of publishing', async (scene) => {
    await scene.publish(...numbered(30));
    await scene.publish(...numbered(60).slice(30));
    await scene.exactly(numbered(60));
  });

  it('hands out at most as many messages as are wanted', async (scene) => {
    const hands = await scene.consume();
    await scene.publish(...numbered(10));
    const got = [];
    for (const want of [1, 2, 1, 3]) {
      const some = await hands.exchange([], want, never);
      assert.ok(some.length >= 1 && some.length <= want, `Expected 1 to ${want} messages, got ${some.length}`);
      got.push(...some);
    }
    got.push(...(await hands.take(10 - got.length)));
    scene.same(got, numbered(10));
  });

  it('answers with the one message that there is, however many are wanted', async (scene) => {
    const hands = await scene.consume();
    for (const name of numbered(3)) {
      await scene.publish(name);
      assert.deepEqual(labels(await hands.exchange([], 50, never)), [name]);
    }
  });

  it('waits while there is no message, and answers when one comes', async (scene) => {
    const hands = await scene.consume();
    const waiting = hands.exchange([], 50, never, 2 * scene.patienceMs);
    await turn();
    await scene.publish('1');
    assert.deepEqual(labels(await waiting), ['1']);
  });

  it('answers a waiting exchange again and again', async (scene) => {
    const hands = await scene.consume();
    const got: string[] = [];
    for (const name of numbered(20)) {
      const waiting = hands.exchange([], 1, never, 2 * scene.patienceMs);
      await turn();
      await scene.publish(name);
      got.push(...labels(await waiting));
    }
    assert.deepEqual(got, numbered(20));
  });

  it('takes from its own queue only', async (scene) => {
    const other = await scene.newQueue();
    await scene.publish(scene.message('of the other', { queue: other }), 'its own');
    await scene.exactly(['its own']);
    await scene.exactly(['of the other'], await scene.consume({ queue: other }));
  });

  it('works one message at a time for a consumer with one slot', async (scene) => {
    const hands = await scene.consumeOnly(1);
    await scene.publish(...numbered(10));
    const got = [await hands.takeOne()];
    while (got.length < 10) got.push(await hands.takeOne([ack(got.at(-1) as (typeof got)[number])]));
    scene.same(got, numbered(10));
    await hands.settle(ack(got[9] as (typeof got)[number]));
    await scene.exactly([], hands);
  });

  it('hands out as many messages as there are slots before one is settled', async (scene) => {
    const hands = await scene.consumeOnly(7);
    await scene.publish(...numbered(9));
    const held = await hands.take(7);
    if (ordered) assert.deepEqual(labels(held), numbered(7));
    scene.same([...held, ...(await hands.take(2, held.map(ack)))], numbered(9));
  });

  it('leaves to others what is beyond the messages that a consumer may have in hand', async (scene) => {
    // A broker that pushes may hold up to maxInHand, and must not hold more, whatever lies in the queue.
    const [slots, maxInHand] = [2, 4];
    const idle = await scene.consume({ slots, maxInHand });
    await scene.publish(...numbered(20));
    const held = await idle.take(slots);
    const other = await scene.consume();
    const got = await other.take(20 - maxInHand);
    const names = labels([...held, ...got]);
    assert.equal(new Set(names).size, names.length, `Expected no message twice: ${names}`);
  });

  if (capabilities.pushes) {
    it('hands out no more to a consumer that has in hand all it may, until it settles', async (scene) => {
      const full = await scene.consumeOnly(2);
      await scene.publish(...numbered(6));
      const held = await full.take(2);
      const abort = new AbortController();
      const waiting = full.exchange([], 1, abort.signal);
      const got = await (await scene.consumeOnly(4)).take(4);
      abort.abort();
      assert.deepEqual(labels(await waiting), []);
      assert.deepEqual(labels([...held, ...got]).toSorted(), numbered(6));
    });
  }

  it('says of a first delivery that it is one', async (scene) => {
    await scene.publish('1');
    const { redelivered, deliveryCount } = await (await scene.consume()).takeOne();
    assert.equal(redelivered, underTest.flagsFirstDeliveries === true);
    assert.equal(deliveryCount, capabilities.deliveryCount ? 1 : undefined);
  });

  it('hands out an object of its own for each delivery, also of identical bodies', async (scene) => {
    const hands = await scene.consume();
    const message = scene.message('1');
    await scene.publish(message, ...(underTest.deduplicates ? [] : [message, message]));
    const held = await hands.take(underTest.deduplicates ? 1 : 3);
    const again = await hands.take(
      held.length,
      held.map((delivery) => toBack(delivery)),
    );
    assert.equal(new Set([...held, ...again]).size, 2 * held.length);
  });

  it('owns what is in hand', async (scene) => {
    const hands = await scene.consume();
    await scene.publish(...numbered(2));
    for (const delivery of await hands.take(2)) {
      const owns = await scene.patiently('owns to answer', hands.consumer.owns?.(delivery) ?? true);
      assert.equal(owns, true);
    }
  });

  it('does not own any more what its consumer gave back and another has', async (scene) => {
    const hands = await scene.consume();
    await scene.publish('1');
    const delivery = await hands.takeOne();
    await hands.close();
    await (await scene.consume()).takeOne();
    if (hands.consumer.owns === undefined) return;
    const owns = Promise.resolve(hands.consumer.owns(delivery));
    assert.notEqual(
      await scene.patiently(
        'owns to answer',
        owns.catch(() => false),
      ),
      true,
    );
  });

  if (underTest.prepareQueue !== undefined) {
    it('refuses for good to consume a queue that does not exist', async (scene) => {
      const consume = scene.broker.consume({ queue: unpreparedQueue(), tag: 'nobody', slots: 1, maxInHand: 2 });
      await assert.rejects(scene.patiently('consume to reject', consume), (error: { code?: unknown }) => {
        assert.notEqual(error.code, 'ERR_MACHINERY_BROKER_UNAVAILABLE', 'That code says that trying again may help');
        return true;
      });
    });
  }
}
