// Publishing: stored when it resolves, an outcome for each message, in order for each routing key.

import assert from 'node:assert/strict';
import { ack, labels } from './hands.ts';
import { numbered, unpreparedQueue, until } from './scene.ts';
import type { Suite } from './suite.ts';

export function publishing({ it, ordered, shared, capabilities, underTest, delays }: Suite): void {
  const { maxMessageBytes, maxDelayMs, maxPublishBatch = 1_000 } = capabilities;

  it('has stored a message when publish resolves, for every other broker too', async (scene) => {
    await scene.publish('1');
    const consumer = await scene.consume({}, await scene.anotherBroker());
    await scene.exactly(['1'], consumer);
  });

  it('keeps what was published before there was any consumer', async (scene) => {
    await scene.publish(...numbered(5));
    await scene.exactly(numbered(5));
  });

  it('answers an empty batch with no outcomes', async (scene) => {
    assert.deepEqual(await scene.outcomes([]), []);
    await scene.exactly([]);
  });

  it('stores a batch of as many messages as it takes, with an outcome for each', async (scene) => {
    const names = numbered(maxPublishBatch);
    const outcomes = await scene.outcomes(names.map((name) => scene.message(name)));
    assert.deepEqual(
      outcomes,
      names.map(() => 'stored'),
    );
    await scene.exactly(names);
  });

  it('stores the messages of one batch in their own queues, in order for each', async (scene) => {
    const [a, b] = [await scene.newQueue(), await scene.newQueue()];
    await scene.publish(...numbered(10).map((name) => scene.message(name, { queue: Number(name) % 3 === 0 ? a : b })));
    await scene.exactly(['3', '6', '9'], await scene.consume({ queue: a }));
    await scene.exactly(['1', '2', '4', '5', '7', '8', '10'], await scene.consume({ queue: b }));
  });

  it('stores everything when publish is called again before it has resolved', async (scene) => {
    const batch = Math.min(5, maxPublishBatch);
    const names = numbered(20 * batch);
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, call) =>
        scene.outcomes(names.slice(call * batch, (call + 1) * batch).map((name) => scene.message(name))),
      ),
    );
    assert.deepEqual(
      outcomes.flat(),
      names.map(() => 'stored'),
    );
    const hands = await scene.consume();
    const got = labels(await scene.rest(hands));
    assert.deepEqual(got.toSorted(byNumber), names);
    if (!ordered) return;
    // Only within a call: nobody says which of two calls comes first.
    for (let call = 0; call < 20; call++) {
      const ofCall = got.filter((name) => Math.floor((Number(name) - 1) / batch) === call);
      assert.deepEqual(ofCall, ofCall.toSorted(byNumber), `The order of call ${call + 1}`);
    }
  });

  if (maxMessageBytes !== undefined) {
    it('refuses for good what is too large, and stores the others of the batch', async (scene) => {
      const outcomes = await scene.outcomes([
        scene.message('before'),
        scene.message('too large', { bytes: maxMessageBytes + 1 }),
        scene.message('after'),
      ]);
      assert.deepEqual(outcomes, ['stored', 'failed ERR_MACHINERY_MESSAGE_TOO_LARGE for good', 'stored']);
      await scene.exactly(['before', 'after']);
    });

    it('measures bodies in bytes of UTF-8, not in characters', async (scene) => {
      const outcomes = await scene.outcomes([scene.message('too large', { text: 'é', bytes: maxMessageBytes + 1 })]);
      assert.deepEqual(outcomes, ['failed ERR_MACHINERY_MESSAGE_TOO_LARGE for good']);
      assert.deepEqual(await scene.outcomes([scene.message('large', { text: 'é', bytes: maxMessageBytes })]), [
        'stored',
      ]);
      await scene.exactly(['large']);
    });
  }

  if (maxDelayMs !== undefined) {
    it('refuses for good what is due later than it can delay, and stores the others of the batch', async (scene) => {
      const [before, late, after] = await scene.outcomes([
        scene.message('before'),
        scene.message('late', { dueAtMs: Date.now() + maxDelayMs + 60_000 }),
        scene.message('after'),
      ]);
      assert.deepEqual([before, after], ['stored', 'stored']);
      assert.match(late as string, /^failed ERR_MACHINERY_\w+ for good$/);
      await scene.exactly(['before', 'after']);
    });

    if (maxDelayMs >= 1_000) {
      it('takes what is due as late as it can delay', async (scene) => {
        // A second less, for the time that passes on the way.
        const late = scene.message('late', { dueAtMs: Date.now() + maxDelayMs - 1_000 });
        assert.deepEqual(await scene.outcomes([late]), ['stored']);
      });
    }
  }

  if (underTest.prepareQueue !== undefined) {
    it('refuses for good what is for a queue that does not exist, and stores the others of the batch', async (scene) => {
      const outcomes = await scene.outcomes([
        scene.message('before'),
        scene.message('lost', { queue: unpreparedQueue() }),
        scene.message('after'),
      ]);
      assert.deepEqual([outcomes[0], outcomes[2]], ['stored', 'stored']);
      assert.match(outcomes[1] as string, /^failed ERR_MACHINERY_\w+ for good$/);
      await scene.exactly(['before', 'after']);
    });
  }

  if (capabilities.priority) {
    it('hands out messages of a higher priority first', async (scene) => {
      await scene.publish(
        scene.message('low', { priority: 1 }),
        scene.message('none'),
        scene.message('high', { priority: 9 }),
        scene.message('middle', { priority: 5 }),
      );
      await scene.exactly(['high', 'middle', 'low', 'none']);
    });

    if (delays(400)) {
      it('keeps the priority of a message that was delayed', async (scene) => {
        // The consumer's only place is taken until both are in the queue, which a later one in another queue shows.
        const hands = await scene.consumeOnly(1);
        await scene.publish('first');
        const first = await hands.takeOne();
        const [dueAtMs, other] = [Date.now() + 100, await scene.newQueue()];
        await scene.publish(
          scene.message('low', { dueAtMs, priority: 1 }),
          scene.message('high', { dueAtMs, priority: 9 }),
          scene.message('later', { dueAtMs: dueAtMs + 300, queue: other }),
        );
        await (await scene.consume({ queue: other })).takeOne();
        await until(dueAtMs + 300);
        await hands.settle(ack(first));
        await scene.exactly(['high', 'low'], hands);
      });
    }
  }

  if (shared) {
    it('does not lose what was published by a broker that was closed', async (scene) => {
      const producer = await scene.anotherBroker();
      await scene.publishWith(
        producer,
        numbered(3).map((name) => scene.message(name)),
      );
      await producer.close();
      await scene.exactly(numbered(3));
    });
  }
}

function byNumber(a: string, b: string): number {
  return Number(a) - Number(b);
}
