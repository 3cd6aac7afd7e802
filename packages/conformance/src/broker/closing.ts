// Closing consumers and brokers: whatever is under way ends, what comes after is refused, and twice is as good as once.

import assert from 'node:assert/strict';
import { type Broker, MachineryError, type Message, type Outcome } from '@machinery/core';
import { ack, labels } from './hands.ts';
import { numbered, turn } from './scene.ts';
import type { Suite } from './suite.ts';

const closed = 'ERR_MACHINERY_CLOSED';
const never = new AbortController().signal;

export function closing({ it, shared }: Suite): void {
  it('closes a consumer twice, one call after the other and both at once', async (scene) => {
    const [a, b] = [await scene.consume(), await scene.consume()];
    await scene.publish('1');
    await a.takeOne();
    await a.close();
    await a.close();
    await Promise.all([b.close(), b.close()]);
    await scene.exactly(['1']);
  });

  it('refuses to exchange after a consumer was closed', async (scene) => {
    const hands = await scene.consume();
    await scene.publish('1');
    await hands.close();
    await scene.rejects(hands.consumer.exchange([], 1, never), closed);
    await scene.rejects(hands.consumer.exchange([], 1, never), closed);
    await scene.exactly(['1']);
  });

  it('ends an exchange that waits when its consumer is closed', async (scene) => {
    const hands = await scene.consume();
    const waiting = ended(hands.consumer.exchange([], 1, never));
    await turn();
    await hands.close();
    assert.deepEqual(await scene.patiently('the exchange to end', waiting), 'nothing');
    await scene.publish('1');
    await scene.exactly(['1']);
  });

  it('leaves the other consumers of a broker alone when one is closed', async (scene) => {
    const other = await scene.newQueue();
    const [a, b, c] = [await scene.consume(), await scene.consume(), await scene.consume({ queue: other })];
    const waiting = [b.exchange([], 1, never, 2 * scene.patienceMs), c.exchange([], 1, never, 2 * scene.patienceMs)];
    await turn();
    await a.close();
    await scene.publish('1', scene.message('2', { queue: other }));
    assert.deepEqual((await Promise.all(waiting)).map(labels), [['1'], ['2']]);
  });

  it('closes a broker twice, one call after the other and both at once', async (scene) => {
    await scene.publish('1');
    await Promise.all([scene.broker.close(), scene.broker.close()].map((one) => scene.patiently('close', one)));
    await scene.patiently('close to resolve once more', scene.broker.close());
  });

  it('closes a broker that was never used', async (scene) => {
    await scene.patiently('close to resolve', scene.broker.close());
  });

  it('refuses for good to publish after close', async (scene) => {
    await scene.publish('1');
    await scene.broker.close();
    await refusesToPublish(scene.broker, scene.patiently('publish', publish(scene.broker, scene.message('2'))));
  });

  it('refuses to publish and to consume after close, also when it was never used before', async (scene) => {
    await scene.broker.close();
    await refusesToPublish(scene.broker, scene.patiently('publish', publish(scene.broker, scene.message('1'))));
    const options = { queue: scene.queue, tag: 'late', slots: 1, maxInHand: 2 };
    await scene.rejects(scene.broker.consume(options), closed);
  });

  it('answers a ping, where it has one, until it is closed', async (scene) => {
    const { broker } = scene;
    if (broker.ping === undefined) return;
    await scene.patiently('ping to resolve', broker.ping());
    await broker.close();
    await scene.rejects(broker.ping(), closed);
  });

  it('refuses to exchange after its broker was closed, and still lets the consumer be closed', async (scene) => {
    const hands = await scene.consume();
    await scene.publish(...numbered(2));
    const delivery = await hands.takeOne();
    await scene.broker.close();
    await scene.rejects(hands.consumer.exchange([], 1, never), closed);
    // Whether it can still settle depends on whose connection it was. It must end.
    await scene.patiently(
      'settle to end',
      hands.settle(ack(delivery)).catch(() => {}),
    );
    await hands.close();
  });

  it('ends an exchange that waits when its broker is closed', async (scene) => {
    const hands = await scene.consume();
    const waiting = ended(hands.consumer.exchange([], 1, never));
    await turn();
    await scene.patiently('close to resolve', scene.broker.close());
    assert.deepEqual(await scene.patiently('the exchange to end', waiting), 'nothing');
  });

  it('answers what is being published before it is closed', async (scene) => {
    const broker = await scene.anotherBroker();
    const messages = numbered(10).map((name) => scene.message(name));
    const outcomes = Promise.all(messages.map((message) => publish(broker, message)));
    await scene.patiently('close to resolve', broker.close());
    assert.deepEqual(
      (await scene.patiently('publish to resolve', outcomes)).map(({ status }) => status),
      messages.map(() => 'stored'),
    );
    if (shared) await scene.exactly(numbered(10));
  });

  if (shared) {
    it('leaves the other brokers alone when one is closed', async (scene) => {
      const broker = await scene.anotherBroker();
      const hands = await scene.consume();
      const waiting = hands.exchange([], 1, never, 2 * scene.patienceMs);
      await scene.consume({}, broker).then((other) => other.close());
      await broker.close();
      await scene.publish('1');
      assert.deepEqual(labels(await waiting), ['1']);
    });
  }
}

async function publish(broker: Broker, message: Message): Promise<Outcome> {
  const [outcome] = await broker.publish([message]);
  return outcome as Outcome;
}

/** An outcome that says so and a rejection are as good. */
async function refusesToPublish(broker: Broker, publishing: Promise<Outcome>): Promise<void> {
  const outcome = await publishing.catch((error: Error): Outcome => ({ status: 'failed', error, retryable: false }));
  assert.equal(outcome.status, 'failed', `${broker.name} is closed`);
  if (outcome.status !== 'failed') return;
  assert.ok(MachineryError.is(outcome.error, closed), `Expected ${closed}, got ${outcome.error}`);
  assert.equal(outcome.retryable, false);
}

/** How an exchange that was closed under way ended: it may refuse, or answer with nothing. */
async function ended(exchange: Promise<readonly { readonly body: string }[]>): Promise<string> {
  try {
    const got = await exchange;
    return got.length === 0 ? 'nothing' : `with ${labels(got)}`;
  } catch (error) {
    return MachineryError.is(error, closed) ? 'nothing' : String(error);
  }
}
