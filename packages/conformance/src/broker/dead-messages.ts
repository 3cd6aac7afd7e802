// Dead messages: out of the queue for good, and on its list of dead ones with the reason.

import assert from 'node:assert/strict';
import { ack, dead, label, labels } from './hands.ts';
import { numbered } from './scene.ts';
import type { Suite } from './suite.ts';

export function deadMessages({ it, underTest }: Suite): void {
  it('never delivers a dead message again', async (scene) => {
    const hands = await scene.consume();
    await scene.publish(...numbered(3));
    const [a, b, c] = await hands.take(3);
    await hands.settle(dead(a), dead(c, ''));
    await hands.close();
    await scene.exactly(labels([b]));
  });

  it('never delivers again what died while taking', async (scene) => {
    const hands = await scene.consumeOnly(1);
    await scene.publish(...numbered(3));
    const first = await hands.takeOne();
    const second = await hands.takeOne([dead(first)]);
    const third = await hands.takeOne([dead(second)]);
    scene.same([first, second, third], numbered(3));
    await hands.close();
    await scene.exactly(labels([third]));
  });

  it('takes any text for a reason', async (scene) => {
    const hands = await scene.consume();
    const reasons = ['Grüße 👩‍👩‍👧‍👦', 'a\nb\u0000c\u2028', '{"json":true}', 'x'.repeat(10_000)];
    await scene.publish(...numbered(reasons.length));
    await hands.settle(...(await hands.take(reasons.length)).map((delivery, i) => dead(delivery, reasons[i])));
    await hands.close();
    await scene.exactly([]);
  });

  const { deadMessages: list } = underTest;
  if (list === undefined) return;

  it('keeps dead messages with their reasons, for each queue', async (scene) => {
    const records = async (queue: string) => {
      const listed = await scene.patiently('dead messages', list.call(underTest, scene.broker, queue));
      return listed.map(({ body, reason }) => `${label(body)} ${reason ?? ''}`.trim());
    };
    const other = await scene.newQueue();
    const hands = await scene.consume();
    await scene.publish(...numbered(4));
    const [a, b, c, d] = await hands.take(4);
    const [nameA, nameB, , nameD] = labels([a, b, c, d]);
    await hands.settle(dead(b, 'not JSON'), ack(c));
    await hands.settle(dead(a, 'too deep'), dead(d, 'too deep'));
    await hands.settle(dead(a, 'again'), dead(c, 'too late'));
    const kept = (await records(scene.queue)).toSorted();
    const full = [`${nameB} not JSON`, `${nameA} too deep`, `${nameD} too deep`].toSorted();
    const bare = full.map((record) => record.split(' ')[0]);
    assert.deepEqual(kept, kept.some((record) => record.includes(' ')) ? full : bare);
    assert.deepEqual(await records(other), []);
  });
}
