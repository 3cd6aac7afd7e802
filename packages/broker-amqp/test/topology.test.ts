// Exchanges, queues and bindings on a real RabbitMQ: what is declared, what exists otherwise, and what no queue takes.

import type { Consumer, Delivery, Message } from '@machinery/core';
import { rabbitServer } from '@machinery/services';
import { connect, type GetMessage } from 'amqplib';
import { afterAll, describe, expect, it } from 'vitest';
import { AmqpBroker } from '../src/index.ts';
import { drain, message, newQueue, open, raw, uuidOf } from './setup.ts';

const rabbit = await rabbitServer();
const url = rabbit?.url as string;
afterAll(() => rabbit?.stop());

const options = { tag: 'worker', slots: 10, maxInHand: 20 };
const uuids = async (consumer: Consumer, count: number) => (await drain(consumer, count)).map(uuidOf);
const withHeaders = (queue: string, uuid: string, headers: Record<string, unknown>): Message => {
  const plain = message(queue, uuid);
  return { ...plain, signature: { ...plain.signature, headers } };
};

describe.skipIf(rabbit === undefined)('what stands on RabbitMQ', { timeout: 30_000 }, () => {
  it('names the queue and the argument that it has otherwise, and leaves other queues alone', async () => {
    const [taken, other] = [newQueue(), newQueue()];
    const channel = await (await raw(url)).createChannel();
    await channel.assertQueue(taken, { maxPriority: 5 });
    const broker = open({ url });
    const consumer = await broker.consume({ queue: other, ...options });
    const outcomes = await broker.publish([message(other, '1'), message(taken, '2'), message(other, '3')]);
    expect(outcomes.map(({ status }) => status)).toEqual(['stored', 'failed', 'stored']);
    const text = `queue ${taken} is there with another argument \`x-max-priority\``;
    expect(outcomes[1]).toMatchObject({ retryable: false, error: { message: expect.stringContaining(text) } });
    const refused = broker.consume({ queue: taken, ...options });
    await expect(refused).rejects.toMatchObject({
      code: 'ERR_MACHINERY_BROKER_FAILED',
      message: expect.stringContaining(text),
    });
    expect(await uuids(consumer, 2)).toEqual(['1', '3']);
  });

  it('declares single queues as they are wanted', async () => {
    const queue = newQueue();
    const broker = open({ url, queues: { [queue]: { arguments: { 'x-queue-type': 'quorum' } } } });
    const consumer = await broker.consume({ queue, ...options });
    await broker.publish([message(queue, '1')]);
    const [delivery] = await consumer.exchange([], 1, AbortSignal.timeout(5_000));
    expect(delivery).toMatchObject({ redelivered: false });
    if (delivery) await consumer.settle([{ kind: 'requeue', position: 'front', delivery }]);
    const [again] = await drain(consumer, 1);
    expect(again).toMatchObject({ redelivered: true, deliveryCount: 2 });
  });

  it('leads topics to the queues whose keys match', async () => {
    const [all, some] = [newQueue(), newQueue()];
    const exchange = newQueue();
    const queues = { [all]: { bindingKeys: ['#'] }, [some]: { bindingKeys: ['orders.*'] } };
    const broker = open({ url, exchange, exchangeType: 'topic', queues });
    broker.attach({ defaultQueue: all, logger: console });
    const [ofAll, ofSome] = [
      await broker.consume({ queue: all, ...options }),
      await broker.consume({ queue: some, ...options }),
    ];
    await broker.publish([
      message('orders.eu', '1'),
      message('bills.eu', '2'),
      message('orders.us', '3', Date.now() + 50),
    ]);
    expect(await uuids(ofAll, 3)).toEqual(['1', '2', '3']);
    expect(await uuids(ofSome, 2)).toEqual(['1', '3']);
  });

  it('leads the keys of a queue on a direct exchange to it, besides its name', async () => {
    const [emails, key, exchange] = [newQueue(), newQueue(), newQueue()];
    const producer = open({ url, exchange, queues: { [emails]: { bindingKeys: [key] } } });
    const outcomes = await producer.publish([
      message(key, '1'),
      message(emails, '2'),
      message(key, '3', Date.now() + 50),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['stored', 'stored', 'stored']);
    expect(await uuids(await producer.consume({ queue: emails, ...options }), 3)).toEqual(['1', '2', '3']);
    const channel = await (await raw(url)).createChannel();
    channel.on('error', () => {});
    await expect(channel.checkQueue(key)).rejects.toThrow('NOT_FOUND');
  });

  it('leads headers to the queues that want them, also after a delay', async () => {
    const [queue, exchange] = [newQueue(), newQueue()];
    const bindingArguments = { 'x-match': 'all', region: 'eu' };
    const broker = open({ url, exchange, exchangeType: 'headers', bindingArguments });
    broker.attach({ defaultQueue: queue, logger: console });
    const consumer = await broker.consume({ queue, ...options });
    const later = { ...withHeaders(queue, '2', { region: 'eu' }), dueAtMs: Date.now() + 50 };
    const outcomes = await broker.publish([
      withHeaders(queue, '1', { region: 'eu' }),
      later,
      withHeaders(queue, '3', {}),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['stored', 'stored', 'failed']);
    expect(await uuids(consumer, 2)).toEqual(['1', '2']);
  });

  it('fails for good what no queue takes', async () => {
    const broker = open({ url, exchange: newQueue(), exchangeType: 'topic' });
    const [outcome] = await broker.publish([message('nobody.wants.it', '1')]);
    expect(outcome).toMatchObject({ status: 'failed', retryable: false });
    expect(String(outcome && 'error' in outcome && outcome.error)).toContain(
      'no queue takes routing key nobody.wants.it',
    );
  });

  it('writes headers as Go does, and refuses those that fit in no frame', async () => {
    const queue = newQueue();
    const broker = open({ url });
    const headers = { text: 'ü', number: 1.5, flag: true, list: [1n, { a: null }] };
    const large = withHeaders(queue, '2', { large: 'x'.repeat(200_000) });
    const outcomes = await broker.publish([withHeaders(queue, '1', headers), large]);
    expect(outcomes).toMatchObject([
      { status: 'stored' },
      { status: 'failed', retryable: false, error: { code: 'ERR_MACHINERY_MESSAGE_TOO_LARGE' } },
    ]);
    const channel = await (await raw(url)).createChannel();
    const got = await channel.get(queue);
    expect(got).toMatchObject({
      properties: {
        contentType: 'application/json',
        deliveryMode: 2,
        headers: { text: 'ü', number: 1.5, flag: true, list: '["1",{"a":null}]' },
      },
    });
  });

  it('leaves headers that RabbitMQ reads itself in the body', async () => {
    const [queue, copied] = [newQueue(), newQueue()];
    const broker = open({ url });
    const all = [withHeaders(queue, '1', { CC: copied, BCC: 1, mine: 'a' }), message(queue, '2')];
    const outcomes = await broker.publish([...all, message(copied, '3')]);
    expect(outcomes.map(({ status }) => status)).toEqual(['stored', 'stored', 'stored']);
    const got = await (await (await raw(url)).createChannel()).get(queue);
    expect(Object.keys((got as GetMessage).properties.headers ?? {})).toEqual(['mine']);
    expect(await broker.countPending(copied)).toBe(1);
  });

  it('refuses for good what AMQP cannot say, and shortens the tag of a worker', async () => {
    for (const [broker, queue] of [
      [open({ url }), 'é'.repeat(125)],
      [open({ url, queueArguments: { 'x-none': Symbol('none') } }), newQueue()],
    ] as const) {
      const refused = { code: 'ERR_MACHINERY_BROKER_FAILED', message: expect.stringContaining(queue) };
      expect(await broker.publish([message(queue, '1')])).toMatchObject([
        { status: 'failed', retryable: false, error: refused },
      ]);
      await expect(broker.consume({ queue, ...options })).rejects.toMatchObject(refused);
    }
    await open({ url }).consume({ ...options, queue: newQueue(), tag: 'é'.repeat(300) });
    const longest = 'x'.repeat(249);
    const broker = open({ url });
    const later = message(longest, '1', Date.now() + 1);
    expect(await broker.publish([later])).toEqual([{ status: 'stored' }]);
    const consumer = await broker.consume({ queue: longest, ...options });
    expect(await uuids(consumer, 1)).toEqual(['1']);
  });

  it('lists what waits in order, and does not lose its place in the queue', async () => {
    const queue = newQueue();
    const broker = open({ url });
    await broker.publish(['1', '2', '3'].map((uuid) => message(queue, uuid)));
    expect(await broker.pendingMessages(queue, 2)).toHaveLength(2);
    expect(await broker.pendingMessages('there is none', 2)).toEqual([]);
    expect(await uuids(await broker.consume({ queue, ...options }), 3)).toEqual(['1', '2', '3']);
  });

  it('bounds the queue of dead messages', async () => {
    const queue = newQueue();
    const broker = open({ url, maxDeadMessages: 2 });
    const consumer = await broker.consume({ queue, ...options });
    await broker.publish(['1', '2', '3'].map((uuid) => message(queue, uuid)));
    for (let left = 3; left > 0; ) {
      const taken = await consumer.exchange([], left, AbortSignal.timeout(5_000));
      await consumer.settle(taken.map((delivery) => ({ kind: 'dead', reason: 'it is broken', delivery })));
      left -= taken.length;
    }
    const channel = await (await raw(url)).createChannel();
    const got = [
      await channel.get(`${queue}.dead`),
      await channel.get(`${queue}.dead`),
      await channel.get(`${queue}.dead`),
    ];
    expect(got.map((one) => one && uuidOf({ body: one.content.toString(), redelivered: false }))).toEqual([
      '2',
      '3',
      false,
    ]);
    expect(got[0]).toMatchObject({ properties: { headers: { 'machinery-dead-reason': 'it is broken' } } });
  });

  it('takes a prefetch over that is changed while it consumes', async () => {
    const queue = newQueue();
    const broker = open({ url, prefetch: 2 });
    const consumer = await broker.consume({ queue, ...options });
    await broker.publish(Array.from({ length: 9 }, (_, i) => message(queue, `${i}`)));
    const taken: Delivery[] = [];
    const take = async (count: number) => {
      const signal = AbortSignal.timeout(5_000);
      while (taken.length < count && !signal.aborted) taken.push(...(await consumer.exchange([], 10, signal)));
      taken.push(...(await consumer.exchange([], 10, AbortSignal.timeout(100))));
      return taken.length;
    };
    expect(await take(2)).toBe(2);
    broker.prefetch = 5;
    expect(await take(7)).toBe(7); // two came before
    await consumer.settle(taken.splice(0, 7).map((delivery) => ({ kind: 'ack', delivery })));
    expect(await take(2)).toBe(2);
    expect(() => {
      broker.prefetch = 0;
    }).toThrow('expected `prefetch` to be an integer >= 1');
  });

  it('uses one connection for publishing, one for consuming, and a channel for each consumer', async () => {
    let [connections, channels] = [0, 0];
    const broker = open({
      connect: async () => {
        connections += 1;
        const model = await connect(url, { noDelay: true });
        const { createChannel } = model;
        model.createChannel = (...args) => {
          channels += 1;
          return createChannel.apply(model, args);
        };
        return model;
      },
    });
    const queues = Array.from({ length: 10 }, newQueue);
    await broker.publish(queues.map((queue) => message(queue, '1')));
    for (const queue of queues) await drain(await broker.consume({ queue, ...options }), 1);
    const before = channels;
    for (let i = 0; i < 50; i++) await broker.publish(queues.map((queue) => message(queue, '2')));
    expect({ connections, more: channels - before }).toEqual({ connections: 2, more: 0 });
  });
});

it.each([
  [{ url: 'amqp://localhost', prefetch: 0 }, 'AmqpBroker: expected `prefetch` to be an integer >= 1'],
  [{ url: 'amqp://localhost', delays: 'delayed-queue' }, "expected `delayedQueue` with `delays: 'delayed-queue'`"],
  [{ url: 'amqp://localhost', queues: { a: { key: 'b' } } }, 'AmqpBroker, queue a: unknown option `key`'],
  [{ url: 'amqp://localhost', delays: 'queues', delayQueueType: 'quorum' }, 'expected `delayQueueType` with'],
  [{ connect: async () => {}, vhost: 'a' }, 'AmqpBroker: `vhost` is for connections that are opened by `url`'],
  [{}, 'expected either `url` or `connect`, got none'],
])('refuses the options %j', (wrong, why) => {
  expect(() => new AmqpBroker(wrong as never)).toThrow(why);
});
