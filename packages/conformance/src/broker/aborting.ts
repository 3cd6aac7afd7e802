// Abort signals: they end the wait of an exchange, never reject it, and never cost a message.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import type { Delivery } from '@machinery/core';
import { ack, labels } from './hands.ts';
import { numbered, turn } from './scene.ts';
import type { Suite } from './suite.ts';

export function aborting({ it, ordered }: Suite): void {
  it('resolves a waiting exchange with nothing when its signal aborts', async (scene) => {
    const hands = await scene.consume();
    for (const reason of [undefined, new Error('a reason'), 'a text']) {
      const abort = new AbortController();
      const waiting = hands.exchange([], 10, abort.signal);
      await turn();
      abort.abort(reason);
      assert.deepEqual(await waiting, []);
    }
  });

  it('resolves at once when the signal has aborted before', async (scene) => {
    const hands = await scene.consume();
    assert.deepEqual(await hands.exchange([], 10, AbortSignal.abort(new Error('before'))), []);
  });

  it('takes again after an abort', async (scene) => {
    const hands = await scene.consume();
    const abort = new AbortController();
    const waiting = hands.exchange([], 10, abort.signal);
    abort.abort();
    assert.deepEqual(await waiting, []);
    await scene.publish(...numbered(3));
    await scene.exactly(numbered(3), hands);
  });

  it('does not end an exchange by the signal of an earlier one', async (scene) => {
    const hands = await scene.consume();
    const earlier = new AbortController();
    const first = hands.exchange([], 1, earlier.signal);
    await scene.publish('1');
    assert.deepEqual(labels(await first), ['1']);
    const second = hands.exchange([], 1, new AbortController().signal, 2 * scene.patienceMs);
    await turn();
    earlier.abort();
    await turn();
    await scene.publish('2');
    assert.deepEqual(labels(await second), ['2']);
  });

  it('loses nothing when a signal aborts around a publish', async (scene) => {
    const rounds = 40;
    const hands = await scene.consume();
    const got: Delivery[] = [];
    let unsettled: Delivery[] = [];
    const settleWith = () => unsettled.map(ack);
    for (let round = 1; round <= rounds; round++) {
      const abort = new AbortController();
      const waiting = hands.exchange(settleWith(), 1 + (round % 3), abort.signal);
      if (round % 8 === 0) abort.abort();
      const published = scene.publish(`${round}`);
      // The abort comes before the message, with it, or after it, at a different moment each round.
      for (let step = 0; step < round % 8; step++) await (step % 2 === 0 ? Promise.resolve() : turn());
      if (round % 8 === 7) await published;
      abort.abort();
      unsettled = await waiting;
      got.push(...unsettled);
      await published;
    }
    const rest = await hands.take(rounds - got.length, settleWith());
    got.push(...rest);
    if (ordered) assert.deepEqual(labels(got), numbered(rounds));
    else assert.deepEqual(labels(got).toSorted(), numbered(rounds).toSorted());
    await hands.settle(...rest.map(ack));
    await scene.exactly([], hands);
  });

  it('gives back, when it is closed, what it took while a signal aborted', async (scene) => {
    const rounds = 10;
    for (let round = 1; round <= rounds; round++) {
      const hands = await scene.consumeOnly(2);
      const abort = new AbortController();
      const waiting = hands.exchange([], 2, abort.signal);
      const published = scene.publish(`${round}`);
      if (round % 2 === 0) await turn();
      abort.abort();
      await waiting;
      await hands.close();
      await published;
    }
    await scene.exactly(numbered(rounds));
  });

  it('leaves no listener behind for each exchange on a signal that lives long', async (scene) => {
    const hands = await scene.consume();
    const { signal } = new AbortController();
    let unsettled: Delivery[] = [];
    for (const name of numbered(20)) {
      const waiting = hands.exchange(unsettled.map(ack), 1, signal);
      await turn();
      await scene.publish(name);
      unsettled = await waiting;
    }
    const { length } = getEventListeners(signal, 'abort');
    assert.ok(length < 5, `Expected the listeners not to grow with the exchanges, got ${length} after 20`);
  });
}
