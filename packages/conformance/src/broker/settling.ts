// Settling: it rides along with taking, may come twice, and goes by the object that was handed out, never by its body.

import assert from 'node:assert/strict';
import { ack, begun, dead, labels, toBack, toFront } from './hands.ts';
import { numbered, turn } from './scene.ts';
import type { Suite } from './suite.ts';

export function settling({ it, underTest }: Suite): void {
  it('never delivers again what was acknowledged', async (scene) => {
    const hands = await scene.consume();
    await scene.publish(...numbered(4));
    const [a, b, c, d] = await hands.take(4);
    await hands.settle(ack(a), ack(c));
    await hands.close();
    await scene.exactly(labels([b, d]));
  });

  it('settles and takes in one exchange', async (scene) => {
    const hands = await scene.consumeOnly(2);
    await scene.publish(...numbered(5));
    const first = await hands.take(2);
    const second = await hands.take(2, first.map(ack));
    const third = await hands.take(1, second.map(ack));
    scene.same([...first, ...second, ...third], numbered(5));
    await hands.close();
    await scene.exactly(labels(third));
  });

  it('settles what an exchange is given although no message comes', async (scene) => {
    const hands = await scene.consume();
    await scene.publish('1');
    const delivery = await hands.takeOne();
    const abort = new AbortController();
    const waiting = hands.exchange([ack(delivery)], 1, abort.signal);
    await turn();
    abort.abort();
    assert.deepEqual(await waiting, []);
    await hands.close();
    await scene.exactly([]);
  });

  it('settles what an exchange is given although its signal has aborted before', async (scene) => {
    const hands = await scene.consume();
    await scene.publish('1');
    const delivery = await hands.takeOne();
    assert.deepEqual(await hands.exchange([ack(delivery)], 1, AbortSignal.abort()), []);
    await hands.close();
    await scene.exactly([]);
  });

  it('gives what an exchange puts back to the same exchange, when there is nothing else', async (scene) => {
    const hands = await scene.consume();
    await scene.publish('1');
    const delivery = await hands.takeOne();
    const again = await hands.takeOne([toBack(delivery)]);
    assert.equal(again.body, delivery.body);
    await hands.close();
    await scene.exactly(['1']);
  });

  it('settles while an exchange waits, without waiting for it', async (scene) => {
    const hands = await scene.consume();
    await scene.publish(...numbered(2));
    const [a, b] = await hands.take(2);
    const abort = new AbortController();
    const waiting = hands.exchange([], 1, abort.signal);
    await turn();
    await hands.settle(ack(a));
    await hands.settle(ack(b));
    abort.abort();
    assert.deepEqual(await waiting, []);
    await hands.close();
    await scene.exactly([]);
  });

  it('gives to an exchange that waits what is requeued by settle', async (scene) => {
    const hands = await scene.consume();
    await scene.publish('1');
    const delivery = await hands.takeOne();
    const waiting = hands.exchange([], 1, new AbortController().signal, 2 * scene.patienceMs);
    await turn();
    await hands.settle(toFront(delivery));
    assert.deepEqual(labels(await waiting), ['1']);
  });

  it('settles each of a call in its own way', async (scene) => {
    const hands = await scene.consume();
    await scene.publish(...numbered(6));
    const [a, b, c, d, e, f] = await hands.take(6);
    await hands.settle(ack(a), toBack(b), dead(c), toFront(d), ack(e));
    await hands.close();
    await scene.exactly(labels([d, f, b]));
  });

  it('ignores a settlement of what was settled before, of any kind', async (scene) => {
    const hands = await scene.consume();
    await scene.publish(...numbered(3));
    const [a, b, c] = await hands.take(3);
    await hands.settle(ack(a), ack(b), dead(c));
    for (const again of [ack, toFront, begun, toBack, dead])
      await hands.settle(...[a, b, c].map((delivery) => again(delivery)));
    await hands.close();
    await scene.exactly([]);
  });

  it('puts back one message when it is requeued twice, in a call or in two', async (scene) => {
    const hands = await scene.consumeOnly(4);
    await scene.publish(...numbered(4));
    const [a, b, c, d] = await hands.take(4);
    const twice = [toFront(a), toBack(b), begun(c), toBack(d), toFront(a), toBack(b)];
    await hands.settle(...twice);
    await hands.settle(...twice);
    await hands.close();
    await scene.exactly(labels([a, c, b, d]));
  });

  it('ignores an old delivery of a message that was requeued and taken again', async (scene) => {
    const hands = await scene.consume();
    await scene.publish('1');
    const old = await hands.takeOne();
    await hands.settle(toFront(old));
    await hands.takeOne();
    for (const again of [ack, toFront, toBack, dead]) await hands.settle(again(old));
    await hands.close();
    await scene.exactly(['1']);
  });

  it('accepts the settlements of an exchange that took nothing a second time', async (scene) => {
    // What core does after an exchange that rejected.
    const hands = await scene.consume();
    await scene.publish(...numbered(3));
    const [a, b, c] = await hands.take(3);
    const settlements = [ack(a), toBack(b), ack(c)];
    await hands.exchange(settlements, 1, AbortSignal.abort()).then((got) => hands.settle(...got.map(toFront)));
    const got = await hands.take(1, settlements);
    assert.deepEqual(labels(got), labels([b]));
    await hands.settle(...got.map(ack));
    await hands.close();
    await scene.exactly([]);
  });

  if (!underTest.deduplicates) {
    it('tells identical messages apart: acknowledging one twice leaves the others', async (scene) => {
      const hands = await scene.consume();
      const message = scene.message('1');
      await scene.publish(message, message, message);
      const [a, b] = await hands.take(3);
      await hands.settle(ack(b));
      await hands.settle(ack(b));
      await hands.settle(ack(b), ack(b));
      await hands.settle(ack(a));
      await hands.close();
      await scene.exactly(['1']);
    });

    it('tells identical messages apart: each is settled in its own way', async (scene) => {
      const hands = await scene.consume();
      const message = scene.message('1');
      await scene.publish(message, message, message, message, message);
      const [a, b, c, d] = await hands.take(5);
      await hands.settle(toBack(b), dead(d), ack(a), toFront(c));
      await hands.close();
      await scene.exactly(['1', '1', '1']);
    });

    it('does not settle, instead of a message that was acknowledged, an identical one that comes later', async (scene) => {
      const hands = await scene.consume();
      const message = scene.message('1');
      await scene.publish(message);
      const first = await hands.takeOne();
      await hands.settle(ack(first));
      await scene.publish(message);
      await hands.takeOne();
      await hands.settle(ack(first));
      await hands.close();
      await scene.exactly(['1']);
    });
  }

  it('ignores settlements of what another consumer has', async (scene) => {
    const [hands, other] = [await scene.consume(), await scene.consume()];
    await scene.publish('1');
    const delivery = await hands.takeOne();
    for (const settle of [ack, toFront, toBack, dead]) await other.settle(settle(delivery));
    await hands.settle(toFront(delivery));
    await hands.close();
    await scene.exactly(['1'], other);
  });

  it('ignores settlements of what a consumer had before it was closed', async (scene) => {
    const hands = await scene.consume();
    await scene.publish(...numbered(4));
    const held = await hands.take(4);
    await hands.close();
    const [a, b, c, d] = held;
    // It may refuse them too: nobody says what settle does after close, but that it must not settle.
    await hands.settle(ack(a), toBack(b), dead(c), toFront(d)).catch(() => {});
    const other = await scene.consume();
    await other.settle(...held.map(ack));
    await scene.exactly(numbered(4), other);
  });

  it('takes an empty call of settle', async (scene) => {
    const hands = await scene.consume();
    await hands.settle();
    await scene.publish('1');
    await scene.exactly(['1'], hands);
  });
}
