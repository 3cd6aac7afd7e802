// Eager brokers: a publish is the run of its tasks. There is no queue, no order, no slots and no delay.

import assert from 'node:assert/strict';
import type { Settlement } from '@machinery/core';
import { ack, dead, type Hands, label, labels, toBack, toFront } from './hands.ts';
import { numbered, type Scene, turn } from './scene.ts';
import type { Suite } from './suite.ts';

const closed = 'ERR_MACHINERY_CLOSED';
const never = new AbortController().signal;

export function eager({ it }: Suite): void {
  it('resolves publish when the task has been acknowledged, and not before', async (scene) => {
    const hands = await scene.consume();
    let resolved = false;
    const published = scene.publish('1').finally(() => {
      resolved = true;
    });
    const [delivery] = await all(hands);
    for (let turns = 0; turns < 5; turns++) await turn();
    assert.equal(resolved, false);
    await hands.settle(ack(delivery as NonNullable<typeof delivery>));
    await published;
  });

  it('hands out each message once, with its own body, as a first delivery', async (scene) => {
    const hands = await scene.consume();
    const messages = ['Grüße 👩‍👩‍👧‍👦', '\u0000\u2028'].map((text) => scene.message(text, { text }));
    const published = scene.publish(...messages);
    const got = await all(hands, messages.length);
    assert.deepEqual(
      got.map(({ body, redelivered }) => ({ body, redelivered })),
      messages.map(({ body }) => ({ body, redelivered: false })),
    );
    await hands.settle(...got.map(ack));
    await published;
  });

  it('answers for each message of a batch', async (scene) => {
    const outcomes = await run(scene, numbered(4), (delivery) => {
      const name = label(delivery.body);
      if (name === '2') return dead(delivery, 'because it is 2');
      return name === '3' ? toBack(delivery) : ack(delivery);
    });
    assert.deepEqual([outcomes[0], outcomes[3]], ['stored', 'stored']);
    for (const outcome of outcomes.slice(1, 3)) assert.match(outcome as string, /^failed ERR_MACHINERY_\w+ for good$/);
  });

  it('fails a publish whose task is given back, as there is no queue to put it to', async (scene) => {
    const [outcome] = await run(scene, ['1'], toFront);
    assert.match(outcome as string, /^failed ERR_MACHINERY_\w+ for good$/);
  });

  it('runs a task at once whatever its ETA', async (scene) => {
    const hands = await scene.consume();
    const published = scene.publish(scene.message('1', { dueAtMs: Date.now() + 86_400_000 }));
    await hands.settle(...(await all(hands)).map(ack));
    await published;
  });

  it('lets a task wait for tasks that it sends', async (scene) => {
    const hands = await scene.consume();
    const order: string[] = [];
    const outer = scene.publish('outer').then(() => order.push('outer'));
    const [first] = await all(hands);
    const inner = scene.publish('inner').then(() => order.push('inner'));
    await hands.settle(...(await all(hands)).map(ack));
    await inner;
    await hands.settle(ack(first as NonNullable<typeof first>));
    await outer;
    assert.deepEqual(order, ['inner', 'outer']);
  });

  it('fails a publish for a queue that nobody consumes, instead of waiting', async (scene) => {
    const [outcome] = await scene.outcomes([scene.message('1')]);
    assert.match(outcome as string, /^failed ERR_MACHINERY_\w+ for good$/);
    assert.deepEqual(await scene.outcomes([]), []);
  });

  it('fails a publish when the consumer is closed that has its task', async (scene) => {
    const hands = await scene.consume();
    const outcomes = scene.outcomes([scene.message('1')]);
    const held = await all(hands);
    await hands.close();
    assert.match((await outcomes)[0] as string, /^failed ERR_MACHINERY_\w+ for good$/);
    await hands.settle(...held.map(ack)).catch(() => {});
    await scene.rejects(hands.consumer.exchange([], 1, never), closed);
  });

  it('settles once, by the object that was handed out, and for its own consumer only', async (scene) => {
    const [a, b] = [await scene.consume(), await scene.consume({ queue: await scene.newQueue() })];
    const message = scene.message('1');
    const published = scene.outcomes([message, message]);
    const [first, second] = (await all(a, 2)) as [Parameters<typeof ack>[0], Parameters<typeof ack>[0]];
    await b.settle(dead(first), dead(second));
    await a.settle(ack(first), dead(first));
    await a.settle(dead(second));
    await a.settle(ack(second));
    const outcomes = await published;
    assert.equal(outcomes.filter((outcome) => outcome === 'stored').length, 1, `${outcomes}`);
  });

  it('resolves a waiting exchange when its signal aborts, and keeps a message for the next one', async (scene) => {
    const hands = await scene.consume();
    const abort = new AbortController();
    const waiting = hands.exchange([], 1, abort.signal);
    const published = scene.publish('1');
    abort.abort();
    const held = await waiting;
    await hands.settle(...(held.length > 0 ? held : await all(hands)).map(ack));
    await published;
  });

  it('refuses everything after close, twice closed or not', async (scene) => {
    const hands = await scene.consume();
    const waiting = hands.consumer.exchange([], 1, never).catch(() => []);
    await scene.broker.close();
    await scene.broker.close();
    assert.deepEqual(await scene.patiently('the exchange to end', waiting), []);
    assert.deepEqual(await scene.outcomes([scene.message('1')]), [`failed ${closed} for good`]);
    await scene.rejects(scene.broker.consume({ queue: scene.queue, tag: 'late', slots: 1, maxInHand: 2 }), closed);
    await scene.rejects(hands.consumer.exchange([], 1, never), closed);
  });
}

/** The next `count` messages; an eager broker hands out all there are, whatever is wanted. */
async function all(hands: Hands, count = 1) {
  return [...(await hands.take(count))];
}

/** Publishes a batch, settles each of its messages, and answers the outcomes. */
async function run(
  scene: Scene,
  names: readonly string[],
  settle: (delivery: Parameters<typeof ack>[0]) => Settlement,
) {
  const hands = await scene.consume();
  const outcomes = scene.outcomes(names.map((name) => scene.message(name)));
  const got = await all(hands, names.length);
  assert.deepEqual(labels(got), names);
  await hands.settle(...got.map(settle));
  return outcomes;
}
