// The memory broker: what becomes of deliveries that are settled, given back or dead.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Consumer, Delivery } from '../../src/broker.ts';
import { MemoryBroker } from '../../src/memory/memory-broker.ts';
import { ack, bodies, dead, message, never, options, requeue, takeNow } from './messages.ts';

let broker: MemoryBroker;
let consumer: Consumer;
beforeEach(async () => {
  broker = new MemoryBroker();
  consumer = await broker.consume(options());
});
afterEach(() => broker.close());

const publish = (...names: string[]) => broker.publish(names.map((name) => message(name)));
const pending = () => broker.pendingMessages('q', 100);
const take = async (want: number) =>
  (await consumer.exchange([], want, never)) as [Delivery, Delivery, Delivery, Delivery];

describe('an acknowledged message', () => {
  it('is gone', async () => {
    await publish('1');
    await consumer.settle((await take(1)).map(ack));
    await consumer.close();
    expect(await pending()).toEqual([]);
  });
});

describe('a consumer that is closed', () => {
  it('gives back what it holds to the front, in the old order, as redeliveries', async () => {
    await publish('1', '2', '3', '4');
    const [, second] = await take(3);
    await consumer.settle([ack(second)]);
    await consumer.close();
    expect(await pending()).toEqual(['1', '3', '4']);
    const next = await (await broker.consume(options())).exchange([], 10, never);
    expect(next).toMatchObject([
      { body: '1', redelivered: true, deliveryCount: 2 },
      { body: '3', redelivered: true, deliveryCount: 2 },
      { body: '4', redelivered: false, deliveryCount: 1 },
    ]);
  });

  it('hands what it held to those who wait', async () => {
    await publish('1', '2');
    await take(2);
    const other = await broker.consume(options());
    const waiting = other.exchange([], 5, never);
    await consumer.close();
    expect(bodies(await waiting)).toEqual(['1', '2']);
  });

  it('restores the order whoever is closed first', async () => {
    const other = await broker.consume(options());
    await publish('1', '2', '3', '4', '5');
    await take(1);
    await other.exchange([], 1, never);
    await take(1);
    await other.exchange([], 1, never);
    await consumer.close();
    await other.close();
    expect(await pending()).toEqual(['1', '2', '3', '4', '5']);
  });

  it('makes each loss count', async () => {
    await publish('1');
    for (let count = 1; count <= 4; count++) {
      const [delivery] = await take(1);
      expect(delivery).toMatchObject({ redelivered: count > 1, deliveryCount: count });
      await consumer.close();
      consumer = await broker.consume(options());
    }
  });
});

describe('a settlement is ignored', () => {
  it('the second time', async () => {
    await publish('1');
    const [delivery] = await take(1);
    await consumer.settle([requeue(delivery, 'back'), requeue(delivery, 'back'), dead(delivery, 'no')]);
    await consumer.settle([requeue(delivery, 'front')]);
    expect(await pending()).toEqual(['1']);
    expect(broker.deadMessages('q')).toEqual([]);
  });

  it('when the message was put back and taken again by the same consumer', async () => {
    await publish('1');
    const [old] = await take(1);
    await consumer.settle([requeue(old, 'front')]);
    await take(1);
    await consumer.settle([ack(old)]);
    await consumer.close();
    expect(await pending()).toEqual(['1']);
  });

  it('of a delivery that is of another consumer', async () => {
    await publish('1');
    const [delivery] = await take(1);
    const other = await broker.consume(options());
    await other.settle([ack(delivery)]);
    await consumer.close();
    expect(await pending()).toEqual(['1']);
  });

  it('by a consumer that is closed', async () => {
    await publish('1');
    const [delivery] = await take(1);
    await consumer.close();
    await consumer.settle([dead(delivery, 'no'), requeue(delivery, 'back')]);
    expect(broker.deadMessages('q')).toEqual([]);
    expect(await consumer.exchange([ack(delivery)], 1, AbortSignal.abort())).toEqual([]);
    expect(await pending()).toEqual(['1']);
  });
});

describe('requeue', () => {
  it('to the front keeps the order of a batch', async () => {
    await publish('1', '2', '3', '4');
    const [a, b, c] = await take(3);
    await consumer.settle([requeue(a, 'front'), requeue(b, 'front'), requeue(c, 'front')]);
    expect(await pending()).toEqual(['1', '2', '3', '4']);
  });

  it('to the front means the old place, whichever call comes first', async () => {
    await publish('1', '2', '3', '4');
    const [a, b, c] = await take(3);
    await consumer.settle([requeue(b, 'front')]);
    await consumer.settle([requeue(c, 'front'), requeue(a, 'front')]);
    expect(await pending()).toEqual(['1', '2', '3', '4']);
  });

  it('to the back goes behind all that waits, in the order given', async () => {
    await publish('1', '2', '3', '4');
    const [a, b] = await take(2);
    await consumer.settle([requeue(b, 'back'), requeue(a, 'back')]);
    expect(await pending()).toEqual(['3', '4', '2', '1']);
  });

  it('mixes with other settlements of a batch', async () => {
    await publish('1', '2', '3', '4', '5');
    const [a, b, c, d] = await take(4);
    await consumer.settle([ack(a), requeue(b, 'back'), dead(c, 'broken'), requeue(d, 'front')]);
    expect(await pending()).toEqual(['4', '5', '2']);
  });

  it('is not a delivery: neither counted nor a redelivery', async () => {
    await publish('1');
    for (const position of ['front', 'back', 'front'] as const) {
      const [delivery] = await take(1);
      expect(delivery).toMatchObject({ redelivered: false, deliveryCount: 1 });
      await consumer.settle([requeue(delivery, position)]);
    }
  });

  it('keeps what the message was: a redelivery stays one', async () => {
    await publish('1');
    await take(1);
    await consumer.close();
    consumer = await broker.consume(options());
    const [again] = await take(1);
    await consumer.settle([requeue(again, 'back')]);
    expect(await take(1)).toMatchObject([{ redelivered: true, deliveryCount: 2 }]);
    await consumer.close();
    consumer = await broker.consume(options());
    expect(await take(1)).toMatchObject([{ redelivered: true, deliveryCount: 3 }]);
  });

  it('wakes another consumer that waits', async () => {
    const other = await broker.consume(options());
    await publish('1');
    const [delivery] = await take(1);
    const waiting = other.exchange([], 1, never);
    await consumer.settle([requeue(delivery, 'front')]);
    expect(bodies(await waiting)).toEqual(['1']);
  });
});

describe('dead messages', () => {
  it('are kept with reason and time, for each queue, oldest first', async () => {
    await publish('1', '2');
    const before = Date.now();
    const [a, b] = await take(2);
    await consumer.settle([dead(b, 'not JSON'), dead(a, 'too deep')]);
    expect(broker.deadMessages('q')).toMatchObject([
      { body: '2', reason: 'not JSON' },
      { body: '1', reason: 'too deep' },
    ]);
    expect(broker.deadMessages('q')[0]?.at.getTime()).toBeGreaterThanOrEqual(before);
    expect(broker.deadMessages('other')).toEqual([]);
    expect(await takeNow(consumer, 5)).toEqual([]);
  });

  it.each([
    [2, ['2', '3']],
    [0, []],
  ])('are at most maxDeadMessages (%i), the oldest dropped', async (maxDeadMessages, kept) => {
    broker = new MemoryBroker({ maxDeadMessages });
    consumer = await broker.consume(options());
    await publish('1', '2', '3');
    for (const delivery of await take(3)) await consumer.settle([dead(delivery, 'broken')]);
    expect(broker.deadMessages('q').map(({ body }) => body)).toEqual(kept);
  });

  it('are 1,000 by default', async () => {
    for (let i = 0; i < 1_005; i++) void publish(`${i}`);
    await consumer.settle((await take(2_000)).map((delivery) => dead(delivery, 'broken')));
    expect(broker.deadMessages('q')).toHaveLength(1_000);
    expect(broker.deadMessages('q')[0]?.body).toBe('5');
  });

  it('are answered as a copy', async () => {
    await publish('1');
    await consumer.settle([dead((await take(1))[0], 'broken')]);
    broker.deadMessages('q').pop();
    expect(broker.deadMessages('q')).toHaveLength(1);
  });
});
