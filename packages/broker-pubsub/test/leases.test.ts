// What is in hand stays this consumer's for as long as it may, and comes to another when it may not.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Delivery } from '@machinery/core';
import { pubsubServer } from '@machinery/services';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { Admin, closeAll, consume, message, newQueue, open, ownServer, take, takeWithin, uuidOf } from './setup.ts';

const pubsub = await pubsubServer();
const host = pubsub?.host as string;
const admin = pubsub && new Admin(host);
afterAll(async () => {
  await closeAll();
  await admin?.close();
  await pubsub?.stop();
});

const one = ([delivery]: readonly Delivery[]) => delivery as Delivery;
const ack = (delivery: Delivery) => ({ kind: 'ack', delivery }) as const;

describe.skipIf(admin === undefined).concurrent('leases', { timeout: 20_000 }, () => {
  it('are extended while the work goes on, for longer than two of them', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const [broker, other] = [open(host), open(host)];
    const consumer = await consume(broker, queue);
    await broker.publish([message(queue, '1')]);
    const delivery = one(await take(consumer, 1));
    expect(await takeWithin(await consume(other, queue), 5_000)).toEqual([]);
    expect(await consumer.owns?.(delivery)).toBe(true);
    await consumer.settle([ack(delivery)]);
    expect(await takeWithin(await consume(other, queue), 2_500)).toEqual([]);
  });

  it('are extended no more after `maxExtensionMs`', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const [broker, other] = [open(host, { maxExtensionMs: 1_000 }), open(host)];
    const consumer = await consume(broker, queue);
    await broker.publish([message(queue, '1')]);
    await take(consumer, 1);
    const again = one(await take(await consume(other, queue), 1, 5_000));
    expect(uuidOf(again)).toBe('1');
    expect(again.redelivered).toBe(true);
  });

  it('are of as many messages as there is work for', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const broker = open(host);
    const consumer = await consume(broker, queue);
    await broker.publish(Array.from({ length: 20 }, (_, i) => message(queue, String(i))));
    const mine = await take(consumer, 3);
    expect(mine).toHaveLength(3);
    expect(await take(await consume(open(host), queue), 17, 3_000)).toHaveLength(17); // at once
  });

  it('that run out are not taken for held where delivery is exactly once', async () => {
    const queue = newQueue();
    await admin?.create(queue, { enableExactlyOnceDelivery: true });
    const [broker, other] = [open(host, { maxExtensionMs: 1_000 }), open(host)];
    const consumer = await consume(broker, queue);
    await broker.publish([message(queue, '1')]);
    const late = one(await take(consumer, 1));
    const rival = await consume(other, queue);
    const again = one(await take(rival, 1, 5_000));
    expect(await consumer.owns?.(late)).toBe(false);
    await consumer.settle([ack(late)]); // which changes nothing
    expect(await rival.owns?.(again)).toBe(true);
    await rival.settle([ack(again)]);
    expect(await takeWithin(rival, 2_500)).toEqual([]);
  });

  it('are kept when an acknowledgement fails for a while, until it is offered again', async () => {
    const own = await ownServer();
    if (own === undefined) return;
    const { server, look } = own;
    const queue = newQueue();
    await look.create(queue, { enableExactlyOnceDelivery: true });
    const broker = open(server.host);
    const consumer = await consume(broker, queue);
    await broker.publish([message(queue, '1')]);
    const delivery = one(await take(consumer, 1));
    await server.failAcks(1);
    await expect(consumer.settle([ack(delivery)])).rejects.toThrow(/acknowledge messages of .*subscriptions/);
    expect(await consumer.owns?.(delivery)).toBe(true);
    await consumer.settle([ack(delivery)]);
    expect(await takeWithin(consumer, 2_500)).toEqual([]);
  });

  it('are lost when they could not be extended in time', async () => {
    const own = await ownServer();
    if (own === undefined) return;
    const { server, look } = own;
    const queue = newQueue();
    await look.create(queue);
    const broker = open(server.host);
    const consumer = await consume(broker, queue);
    await broker.publish([message(queue, '1')]);
    const delivery = one(await take(consumer, 1));
    await server.down();
    await sleep(2_500);
    await server.up();
    expect(await consumer.owns?.(delivery)).toBe(false);
  });

  it('are extended no more when nobody has them and they could not be given back', async () => {
    const own = await ownServer();
    if (own === undefined) return;
    const { server, look } = own;
    const queue = newQueue();
    await look.create(queue);
    const [broker, other] = [open(server.host), open(server.host)];
    const consumer = await consume(broker, queue);
    expect(await takeWithin(consumer, 50)).toEqual([]); // its pull waits on
    await broker.publish([message(queue, '1')]);
    await sleep(100); // and has the message now, for which nobody asks
    await server.down();
    await sleep(300);
    await server.up();
    const next = await vi.waitFor(() => consume(other, queue), 5_000);
    expect((await take(next, 1, 5_000)).map(uuidOf)).toEqual(['1']);
  });

  it('given back are a redelivery at once when their task had begun', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const broker = open(host);
    const consumer = await consume(broker, queue);
    await broker.publish([message(queue, 'begun'), message(queue, 'new')]);
    const settled = (await take(consumer, 2)).map((delivery) => {
      return { kind: 'requeue', position: 'front', begun: uuidOf(delivery) === 'begun', delivery } as const;
    });
    await consumer.settle(settled);
    const again = await take(consumer, 2, 1_000);
    const flags = Object.fromEntries(again.map((delivery) => [uuidOf(delivery), delivery.redelivered]));
    expect(flags).toEqual({ begun: true, new: false });
  });

  it('are counted where the subscription has a dead-letter policy', async () => {
    const [queue, dead] = [newQueue(), newQueue()];
    await admin?.create(dead);
    await admin?.create(queue, { deadLetterPolicy: { deadLetterTopic: admin.topic(dead), maxDeliveryAttempts: 10 } });
    const broker = open(host);
    const consumer = await consume(broker, queue);
    await broker.publish([message(queue, '1')]);
    for (const deliveryCount of [1, 2, 3]) {
      const delivery = one(await take(consumer, 1));
      expect(delivery).toMatchObject({ deliveryCount, redelivered: deliveryCount > 1 });
      await consumer.settle([{ kind: 'requeue', position: 'front', begun: true, delivery }]);
    }
    await consumer.settle([{ kind: 'dead', reason: 'no signature', delivery: one(await take(consumer, 1)) }]);
    const [buried] = (await admin?.take(dead)) ?? [];
    expect(buried?.attributes?.['machinery-dead-reason']).toBe('no signature');
  });
});
