// Delays: never early by this machine's clock, in the order of their times, and held by the server.

import assert from 'node:assert/strict';
import { ack, arrivals, label, labels } from './hands.ts';
import { numbered, until } from './scene.ts';
import type { Suite } from './suite.ts';

const dayMs = 86_400_000;
/** Due when the tests are long over. */
const laterMs = 60_000;

export function delays({ it, ordered, shared, capabilities, underTest, delays: canDelay }: Suite): void {
  it('delivers at once what was due before, in its turn', async (scene) => {
    await scene.publish(
      scene.message('1', { dueAtMs: Date.now() - 1_000 }),
      scene.message('2'),
      scene.message('3', { dueAtMs: 0 }),
      scene.message('4', { dueAtMs: Date.now() }),
    );
    await scene.exactly(numbered(4));
  });

  if (!canDelay(laterMs)) return;

  it('delivers nothing before it is due', async (scene) => {
    const hands = await scene.consume();
    const waiting = arrivals(hands, 6);
    const startMs = Date.now();
    const due = new Map([150, 20, 70, 3, 110, 1].map((ms) => [`${ms}`, startMs + ms]));
    await scene.publish(...[...due].map(([name, dueAtMs]) => scene.message(name, { dueAtMs })));
    const got = await waiting;
    for (const { name, atMs } of got) {
      const earlyMs = (due.get(name) as number) - atMs;
      assert.ok(earlyMs <= 0, `The message delayed by ${name} ms came ${earlyMs} ms early`);
    }
    assert.deepEqual(got.map(({ name }) => name).toSorted(), [...due.keys()].toSorted());
  });

  if (ordered) {
    it('delivers in the order of the times at which messages are due', async (scene) => {
      // What a first delayed message takes to declare and to connect must not make a later one late.
      await scene.publish(scene.message('first', { queue: await scene.newQueue(), dueAtMs: Date.now() + 1 }));
      const startMs = Date.now() + 100;
      const due = (name: string) => scene.message(name, { dueAtMs: startMs + Number(name) * 100 });
      await scene.publish(due('4'), due('2'), due('5'));
      await scene.publish(due('1'));
      await scene.publish(due('3'));
      const got = await arrivals(await scene.consume(), 5);
      assert.deepEqual(
        got.map(({ name }) => name),
        numbered(5),
      );
    });
  }

  it('does not keep a message until one is due that is due later and came before', async (scene) => {
    const late = scene.message('late', { dueAtMs: Date.now() + laterMs });
    await scene.publish(late, scene.message('soon', { dueAtMs: Date.now() + 50 }), 'now');
    const hands = await scene.consume();
    assert.deepEqual(labels(await hands.take(2)).toSorted(), ['now', 'soon']);
    await scene.publish(scene.message('sooner', { dueAtMs: Date.now() + 20 }));
    assert.equal(label((await hands.takeOne()).body), 'sooner');
  });

  it('delivers each message to its own queue', async (scene) => {
    const [a, b] = [await scene.newQueue(), await scene.newQueue()];
    const dueAtMs = Date.now() + 60;
    await scene.publish(
      ...numbered(6).map((name) =>
        scene.message(name, { queue: Number(name) % 2 === 0 ? a : b, dueAtMs: dueAtMs + Number(name) }),
      ),
    );
    const [ofA, ofB] = await Promise.all([
      arrivals(await scene.consume({ queue: a }), 3),
      arrivals(await scene.consume({ queue: b }), 3),
    ]);
    assert.deepEqual(ofA.map(({ name }) => name).toSorted(), ['2', '4', '6']);
    assert.deepEqual(ofB.map(({ name }) => name).toSorted(), ['1', '3', '5']);
  });

  it('delivers once what is due in one instant, to several consumers', async (scene) => {
    const dueAtMs = Date.now() + 80;
    const names = numbered(100);
    await scene.publish(...names.map((name) => scene.message(name, { dueAtMs })));
    const [a, b] = [await scene.consumeOnly(50), await scene.consumeOnly(50)];
    const [ofA, ofB] = await Promise.all([a.take(50), b.take(50)]);
    assert.ok(Date.now() >= dueAtMs);
    assert.deepEqual(labels([...ofA, ...ofB]).toSorted(), names.toSorted());
  });

  it('calls the first delivery of a delayed message the first', async (scene) => {
    await scene.publish(scene.message('1', { dueAtMs: Date.now() + 20 }));
    const { redelivered, deliveryCount } = await (await scene.consume()).takeOne();
    assert.equal(redelivered, underTest.flagsFirstDeliveries === true);
    assert.equal(deliveryCount, capabilities.deliveryCount ? 1 : undefined);
  });

  it('keeps the body of a delayed message', async (scene) => {
    const message = scene.message('1', { dueAtMs: Date.now() + 20, text: 'Grüße 👩‍👩‍👧‍👦 \u0000 \u2028' });
    await scene.publish(message);
    assert.equal((await (await scene.consume()).takeOne()).body, message.body);
  });

  if (!underTest.deduplicates && !underTest.collapsesDelayed) {
    it('keeps identical messages apart that are delayed', async (scene) => {
      const message = scene.message('1', { dueAtMs: Date.now() + 30 });
      await scene.publish(message, message);
      await scene.publish(message);
      const hands = await scene.consume();
      await hands.settle(...(await hands.take(3)).map(ack));
      await scene.exactly([], hands);
    });
  }

  it('delivers what was due while there was no consumer', async (scene) => {
    const dueAtMs = Date.now() + 30;
    await scene.publish(...numbered(3).map((name) => scene.message(name, { dueAtMs: dueAtMs + Number(name) })));
    await until(dueAtMs + 20);
    const got = await arrivals(await scene.consume(), 3);
    assert.deepEqual(got.map(({ name }) => name).toSorted(), numbered(3));
  });

  it('keeps a delayed message when the consumer is closed that waited', async (scene) => {
    const hands = await scene.consume();
    await scene.publish(scene.message('1', { dueAtMs: Date.now() + 60 }));
    await hands.exchange([], 1, AbortSignal.abort());
    await hands.close();
    assert.deepEqual(labels([await (await scene.consume()).takeOne()]), ['1']);
  });

  if (canDelay(31 * dayMs)) {
    it('does not deliver now what is due in a month', async (scene) => {
      await scene.publish(scene.message('in a month', { dueAtMs: Date.now() + 30 * dayMs }));
      await scene.exactly([]);
    });
  }

  if (shared) {
    it('holds delays by the server: they survive their producer', async (scene) => {
      const producer = await scene.anotherBroker();
      const dueAtMs = Date.now() + 80;
      const messages = numbered(3).map((name) => scene.message(name, { dueAtMs }));
      await scene.publishWith(producer, messages);
      await producer.close();
      const got = await arrivals(await scene.consume(), 3);
      assert.deepEqual(got.map(({ name }) => name).toSorted(), numbered(3));
      assert.ok(got.every(({ atMs }) => atMs >= dueAtMs));
    });

    it('delivers what the consumer of another broker waits for', async (scene) => {
      const hands = await scene.consume({}, await scene.anotherBroker());
      const waiting = arrivals(hands, 1);
      const dueAtMs = Date.now() + 50;
      await scene.publish(scene.message('1', { dueAtMs }));
      const [first] = await waiting;
      assert.ok(first !== undefined && first.atMs >= dueAtMs);
    });
  }
}
