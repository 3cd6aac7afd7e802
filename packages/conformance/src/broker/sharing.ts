// Several consumers of one queue: each message goes to one of them.

import assert from 'node:assert/strict';
import { ack, type Hands, labels, started } from './hands.ts';
import { numbered, type Scene } from './scene.ts';
import type { Suite } from './suite.ts';

const messages = 300;

export function sharing({ it, ordered }: Suite): void {
  it('hands no message to two consumers', async (scene) => {
    const [a, b] = [await scene.consumeOnly(5), await scene.consumeOnly(5)];
    await scene.publish(...numbered(10));
    const [ofA, ofB] = await Promise.all([a.take(5), b.take(5)]);
    assert.deepEqual(labels([...ofA, ...ofB]).toSorted(), numbered(10).toSorted());
    if (!ordered) return;
    for (const taken of [ofA, ofB])
      assert.deepEqual(
        labels(taken),
        labels(taken).toSorted((x, y) => Number(x) - Number(y)),
      );
  });

  it('wakes a consumer for each message when several wait', async (scene) => {
    const hands = await Promise.all([1, 2, 3].map(() => scene.consumeOnly(1)));
    const waiting = started(Promise.all(hands.map((one) => one.takeOne([], 2 * scene.patienceMs))));
    await scene.publish(...numbered(3));
    assert.deepEqual(labels(await waiting).toSorted(), numbered(3));
  });

  it('hands to one consumer what another did not wait for any more', async (scene) => {
    const [a, b] = [await scene.consumeOnly(1), await scene.consumeOnly(1)];
    const abort = new AbortController();
    const waiting = a.exchange([], 1, abort.signal, 2 * scene.patienceMs);
    abort.abort();
    const published = scene.publish('1');
    const got = await waiting;
    await a.settle(...got.map(ack));
    await a.close();
    await published;
    if (got.length === 0) await scene.exactly(['1'], b);
    else await scene.exactly([], b);
  });

  it(`delivers each of ${messages} messages once to many consumers, however few each takes`, async (scene) => {
    const hands = await Promise.all([1, 2, 3, 5, 20].map((slots) => scene.consumeOnly(slots)));
    await exactlyOnce(scene, hands);
  });

  it(`delivers each of ${messages} messages once to consumers of several brokers`, async (scene) => {
    const brokers = [await scene.anotherBroker(), await scene.anotherBroker(), scene.broker];
    const hands = await Promise.all(brokers.map((broker) => scene.consumeOnly(10, broker)));
    await exactlyOnce(scene, hands);
  });

  it('delivers each message once while consumers come and go', async (scene) => {
    const names = numbered(60);
    const published = scene.publish(...names);
    const acknowledged: string[] = [];
    while (acknowledged.length < names.length) {
      const [a, b] = [await scene.consumeOnly(4), await scene.consumeOnly(4)];
      // A round settles what one has taken, and lets the other give back.
      const some = await a.takeSome();
      await a.settle(...some.map(ack));
      acknowledged.push(...labels(some));
      await b.exchange([], 2, AbortSignal.abort());
      await Promise.all([a.close(), b.close()]);
    }
    await published;
    assert.deepEqual(acknowledged.toSorted(), names.toSorted());
    await scene.exactly([]);
  });
}

/** Publishes while they consume; each message must be acknowledged by one of them, and none may be left. */
async function exactlyOnce(scene: Scene, hands: readonly Hands[]): Promise<void> {
  const names = numbered(messages);
  const got: string[] = [];
  const done = new AbortController();
  const work = async (one: Hands): Promise<void> => {
    let unsettled = [] as Awaited<ReturnType<Hands['exchange']>>;
    while (!done.signal.aborted) {
      unsettled = await one.exchange(unsettled.map(ack), one.slots, done.signal, 2 * scene.patienceMs);
      got.push(...labels(unsettled));
      if (got.length >= messages) done.abort();
    }
    await one.settle(...unsettled.map(ack));
  };
  const working = started(Promise.all(hands.map(work)));
  const late = setTimeout(() => done.abort(), scene.patienceMs);
  try {
    for (let from = 0; from < messages; from += 50) await scene.publish(...names.slice(from, from + 50));
    await working;
  } finally {
    clearTimeout(late);
    done.abort();
    await working.catch(() => {});
  }
  assert.deepEqual(got.toSorted(), names.toSorted());
  for (const one of hands) await one.close();
  await scene.exactly([]);
}
