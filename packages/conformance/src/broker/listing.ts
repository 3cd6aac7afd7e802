// Listing what waits and what is delayed, for the brokers that can, without taking anything.

import assert from 'node:assert/strict';
import { ack, label, labels } from './hands.ts';
import { numbered, type Scene } from './scene.ts';
import type { Suite } from './suite.ts';

const laterMs = 50_000;

export function listing({ it, ordered, capabilities, underTest, delays, shared }: Suite): void {
  const names = (bodies: readonly string[]) => (ordered ? bodies.map(label) : bodies.map(label).toSorted());

  if (capabilities.listPending) {
    const pending = async (scene: Scene, limit: number, queue = scene.queue): Promise<string[]> => {
      const { broker } = scene;
      assert.ok(broker.pendingMessages !== undefined);
      return names(await scene.patiently('pendingMessages', broker.pendingMessages(queue, limit)));
    };

    it('lists what waits in a queue, in order', async (scene) => {
      const other = await scene.newQueue();
      await scene.publish(...numbered(5), scene.message('of the other', { queue: other }));
      assert.deepEqual(await pending(scene, 1_000), numbered(5));
      assert.deepEqual(await pending(scene, 1_000, other), ['of the other']);
    });

    it('lists at most as many messages as asked for, from the front', async (scene) => {
      await scene.publish(...numbered(5));
      for (const limit of [1, 2, 4, 5, 6]) {
        const listed = await pending(scene, limit);
        assert.equal(listed.length, Math.min(limit, 5));
        if (ordered) assert.deepEqual(listed, numbered(Math.min(limit, 5)));
      }
    });

    it('counts what waits in a queue, where it can', async (scene) => {
      const { broker } = scene;
      if (broker.countPending === undefined) return;
      const other = await scene.newQueue();
      const count = (queue: string) => scene.patiently('countPending', broker.countPending?.(queue));
      assert.equal(await count(scene.queue), 0);
      await scene.publish(...numbered(5), scene.message('of the other', { queue: other }));
      assert.deepEqual([await count(scene.queue), await count(other)], [5, 1]);
      await (await scene.consumeOnly(5)).take(5);
      assert.equal(await count(scene.queue), 0);
    });

    it('lists nothing of an empty queue', async (scene) => assert.deepEqual(await pending(scene, 10), []));

    it('takes nothing when it lists what waits', async (scene) => {
      const message = scene.message('1', { text: 'Grüße 👩‍👩‍👧‍👦 \u0000' });
      await scene.publish(message);
      for (let times = 0; times < 3; times++)
        assert.deepEqual(await scene.broker.pendingMessages?.(scene.queue, 10), [message.body]);
      const { redelivered } = await (await scene.consume()).takeOne();
      // A server that takes what is requeued for a delivery has no other look at a message.
      if (!underTest.countsRequeues) assert.equal(redelivered, underTest.flagsFirstDeliveries === true);
    });

    it('lists neither what is in hand nor what is settled, and lists what is put back', async (scene) => {
      const hands = await scene.consumeOnly(2);
      await scene.publish(...numbered(4));
      const [a, b] = await hands.take(2);
      const waiting = numbered(4).filter((name) => !labels([a, b]).includes(name));
      assert.deepEqual(await pending(scene, 10), waiting);
      await hands.settle(ack(a));
      await hands.close();
      assert.deepEqual((await pending(scene, 10)).toSorted(), [...labels([b]), ...waiting].toSorted());
      if (ordered) assert.equal((await pending(scene, 1))[0], labels([b])[0]);
    });
  }

  if (capabilities.listDelayed && delays(laterMs)) {
    /** The own ones: the server may hold delayed messages of other cases. */
    const delayed = async (scene: Scene, own: readonly string[], limit = 100_000): Promise<string[]> => {
      assert.ok(scene.broker.delayedMessages !== undefined);
      const bodies = await scene.patiently('delayedMessages', scene.broker.delayedMessages(limit));
      assert.ok(bodies.length <= limit, `Expected at most ${limit} delayed messages, got ${bodies.length}`);
      return bodies.filter((body) => own.includes(body)).map(label);
    };
    const due = (scene: Scene, name: string, queue = scene.queue) =>
      scene.message(name, { queue, dueAtMs: Date.now() + laterMs - 10_000 + Number(name) * 1_000 });

    it('lists delayed messages of all queues, soonest first', async (scene) => {
      const other = await scene.newQueue();
      const messages = [due(scene, '4'), due(scene, '2', other), due(scene, '1'), due(scene, '3', other)];
      await scene.publish(...messages);
      const own = messages.map(({ body }) => body);
      assert.deepEqual(await delayed(scene, own), numbered(4));
    });

    it('lists at most as many delayed messages as asked for, the soonest', async (scene) => {
      const messages = [due(scene, '3'), due(scene, '1'), due(scene, '2')];
      await scene.publish(...messages);
      const own = messages.map(({ body }) => body);
      for (const limit of [1, 2, 3]) {
        const listed = await delayed(scene, own, limit);
        // Others' messages may be due before them, but not between them in another order.
        assert.deepEqual(listed, numbered(listed.length));
      }
      const all = await scene.broker.delayedMessages?.(100_000);
      assert.equal((await scene.broker.delayedMessages?.(3))?.length, Math.min(3, all?.length ?? 0));
    });

    it('takes nothing when it lists delayed messages, and does not list them once they are delivered', async (scene) => {
      const soon = scene.message('soon', { dueAtMs: Date.now() + 150 });
      await scene.publish(soon);
      assert.deepEqual(await delayed(scene, [soon.body]), ['soon']);
      const hands = await scene.consume();
      await hands.settle(ack(await hands.takeOne()));
      assert.deepEqual(await delayed(scene, [soon.body]), []);
    });

    if (shared) {
      it('lists what another broker has delayed', async (scene) => {
        const late = due(scene, '1');
        await scene.publishWith(await scene.anotherBroker(), [late]);
        assert.deepEqual(await delayed(scene, [late.body]), ['1']);
      });
    }
  }

  if (capabilities.listPending && delays(laterMs)) {
    it('does not list as waiting what is delayed', async (scene) => {
      await scene.publish(scene.message('late', { dueAtMs: Date.now() + laterMs }), 'now');
      assert.deepEqual((await scene.broker.pendingMessages?.(scene.queue, 10))?.map(label), ['now']);
    });
  }
}
