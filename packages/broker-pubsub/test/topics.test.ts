// Topics, subscriptions and what is published to them: names, what is missing, ordering keys, batches and the calls that a task costs.

import { PubSub } from '@google-cloud/pubsub';
import { Server, silentLogger } from '@machinery/core';
import { MemoryBackend } from '@machinery/core/memory';
import { pubsubServer } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import { PubSubBroker } from '../src/index.ts';
import { Admin, at, closeAll, consume, message, newQueue, open, ownServer, projectId, take, uuidOf } from './setup.ts';

const pubsub = await pubsubServer();
const host = pubsub?.host as string;
const admin = pubsub && new Admin(host);
afterAll(async () => {
  await closeAll();
  await admin?.close();
  await pubsub?.stop();
});

describe.skipIf(admin === undefined).concurrent('topics and subscriptions', { timeout: 20_000 }, () => {
  it('that are missing are named', async () => {
    const [queue, broker] = [newQueue(), open(host)];
    const [outcome] = await broker.publish([message(queue, '1')]);
    expect(outcome).toMatchObject({ status: 'failed', retryable: false });
    const { error } = outcome as { readonly error: Error };
    expect(error.message).toContain(`projects/${projectId}/topics/${queue}`);
    expect(error.message).toContain('does not exist: create it');
    await expect(consume(broker, queue)).rejects.toMatchObject({
      code: 'ERR_MACHINERY_BROKER_FAILED',
      message: expect.stringContaining(`projects/${projectId}/subscriptions/${queue}`),
    });
  });

  it('come into being with `createMissing`, before anything is consumed', async () => {
    const [queue, broker] = [newQueue(), open(host, { createMissing: true })];
    expect(await broker.publish([message(queue, '1')])).toEqual([{ status: 'stored' }]);
    expect((await take(await consume(broker, queue), 1)).map(uuidOf)).toEqual(['1']);
  });

  it('come into being with `createMissing` also where a worker has created the topic and not yet its subscription', async () => {
    const queue = newQueue();
    await admin?.publisher.createTopic({ name: admin.topic(queue) });
    const broker = open(host, { createMissing: true });
    expect(await broker.publish([message(queue, '1')])).toEqual([{ status: 'stored' }]);
    expect((await take(await consume(broker, queue), 1)).map(uuidOf)).toEqual(['1']);
  });

  it('have the names that the options give them', async () => {
    const [queue, other, name] = [newQueue(), newQueue(), newQueue()];
    await admin?.create(queue);
    await admin?.create(other);
    for (const [topic, subscription] of [
      [queue, `${name}-default`],
      [other, `${name}-other`],
    ] as const)
      await admin?.subscriber.createSubscription({
        name: admin.subscription(subscription),
        topic: admin.topic(topic),
        ackDeadlineSeconds: 10,
      });
    const broker = open(host, { subscription: `${name}-default`, subscriptions: { [other]: `${name}-other` } });
    broker.attach({ defaultQueue: queue, logger: silentLogger });
    await broker.publish([message(queue, '1'), message(other, '2')]);
    expect((await take(await consume(broker, queue), 1)).map(uuidOf)).toEqual(['1']);
    expect((await take(await consume(broker, other), 1)).map(uuidOf)).toEqual(['2']);
    for (const subscription of [`${name}-default`, `${name}-other`])
      expect(await admin?.take(subscription)).toEqual([]);
  });

  it('are those of a ready client, which stays open', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const client = new PubSub({ projectId, apiEndpoint: host, emulatorMode: true });
    const broker = new PubSubBroker({ client });
    expect(await broker.publish([message(queue, '1')])).toEqual([{ status: 'stored' }]);
    await broker.close();
    expect(client.isOpen).toBe(true);
    expect(await admin?.take(queue)).toHaveLength(1);
    expect(() => new PubSubBroker({ client, projectId })).toThrow('expected `clientConfig` and `projectId` without');
  });

  it('are consumed again when they were deleted and created again', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const broker = open(host);
    const consumer = await consume(broker, queue);
    const waiting = consumer.exchange([], 1, AbortSignal.timeout(5_000));
    waiting.catch(() => {});
    await admin?.remove(queue);
    await expect(waiting).rejects.toMatchObject({ message: expect.stringContaining(queue) });
    await expect(take(consumer, 1)).rejects.toThrow('does not exist');
    await admin?.create(queue);
    await broker.publish([message(queue, '1')]);
    expect((await take(consumer, 1)).map(uuidOf)).toEqual(['1']);
  });

  it('are refused that push, or have lost their topic', async () => {
    const [pushing, orphan] = [newQueue(), newQueue()];
    await admin?.create(pushing, { pushConfig: { pushEndpoint: 'https://example.com/push' } });
    await admin?.create(orphan);
    await admin?.publisher.deleteTopic({ topic: admin.topic(orphan) });
    await expect(consume(open(host), pushing)).rejects.toThrow('pushes to an endpoint');
    await expect(consume(open(host), orphan)).rejects.toThrow('has lost its topic');
  });

  it('keep the order of a brokerMessageGroupId, one message after the other', async () => {
    const queue = newQueue();
    await admin?.create(queue, { enableMessageOrdering: true });
    const broker = open(host);
    const signature = (uuid: string) => ({ name: 'task', uuid, brokerMessageGroupId: 'group' });
    const names = Array.from({ length: 40 }, (_, i) => String(i));
    await Promise.all(names.map((uuid) => broker.publish([message(queue, uuid, { signature: signature(uuid) })])));
    const consumer = await consume(broker, queue);
    const got: string[] = [];
    while (got.length < names.length) {
      const deliveries = await take(consumer, 1);
      got.push(...deliveries.map(uuidOf));
      await consumer.settle(deliveries.map((delivery) => ({ kind: 'ack', delivery })));
    }
    expect(got).toEqual(names);
    const tooLong = { ...signature('long'), brokerMessageGroupId: 'é'.repeat(513) };
    const outcomes = await broker.publish([message(queue, 'long', { signature: tooLong }), message(queue, 'next')]);
    expect(outcomes).toMatchObject([{ status: 'failed', retryable: false }, { status: 'stored' }]);
  });

  it('are sent requests within the limits, whatever is published at once', async () => {
    const queue = newQueue();
    await admin?.create(queue);
    const broker = open(host);
    const body = (kilobytes: number) => ({ body: 'x'.repeat(kilobytes * 1_000) });
    const batches = [
      Array.from({ length: 90 }, (_, i) => message(queue, String(i))),
      Array.from({ length: 1_000 }, (_, i) => message(queue, String(i))),
      [message(queue, 'large', body(900))],
      [message(queue, 'larger', body(9_500))],
    ];
    const outcomes = await Promise.all(batches.map((batch) => broker.publish(batch)));
    expect(new Set(outcomes.flat().map(({ status }) => status))).toEqual(new Set(['stored']));
  });

  it('keep the place of what is ordered and had begun when it is given back', async () => {
    const queue = newQueue();
    await admin?.create(queue, { enableMessageOrdering: true });
    const broker = open(host);
    const signature = { name: 'task', brokerMessageGroupId: 'group' };
    await broker.publish(['1', '2'].map((uuid) => message(queue, uuid, { signature })));
    const first = await consume(broker, queue);
    await take(first, 1);
    await first.close();
    const [again] = await take(await consume(broker, queue), 1, 5_000);
    expect(again && uuidOf(again)).toBe('1');
    expect(again?.redelivered).toBe(true);
  });

  it('cost a call for a batch, and few for a task', async () => {
    const own = await ownServer(); // whose calls are counted
    if (own === undefined) return;
    const { server: counting, look } = own;
    const queue = newQueue();
    await look.create(queue);
    await open(counting.host).publish(Array.from({ length: 1_000 }, (_, i) => message(queue, `batch-${i}`)));
    expect(await counting.calls()).toMatchObject({ Publish: 1 });

    const start = async (run: () => unknown) => {
      const broker = new PubSubBroker({ ...at(counting.host), leaseSeconds: 60 });
      const server = new Server({ broker, backend: new MemoryBackend(), defaultQueue: queue });
      server.registerTask('task', run);
      await server.newWorker('worker', { concurrency: 10 }).start();
      return server;
    };
    let runs = 0;
    let finish = () => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const first = await start(() => ++runs === 1_000 && finish());
    await finished;
    await first.close();
    const before = await counting.calls();
    expect(before.Pull).toBeLessThan(500);
    expect(before.Acknowledge).toBeLessThan(500);

    const second = await start(() => 1);
    await (await second.send({ name: 'task' })).get({ timeoutMs: 10_000 });
    await second.close();
    const after = await counting.calls();
    const calls = (method: string) => (after[method] ?? 0) - (before[method] ?? 0);
    expect([calls('Publish'), calls('Acknowledge'), calls('ModifyAckDeadline')]).toEqual([1, 1, 0]);
    expect(calls('Pull')).toBeLessThanOrEqual(2); // the one that brought it, and one that waits
  });
});

describe('the options of PubSubBroker', () => {
  it.each([
    [{ leaseSeconds: 601 }, '`leaseSeconds` to be an integer >= 1 and <= 600'],
    [{ subscription: '' }, '`subscription` to be a string that is not empty'],
    [{ subscriptions: { mail: 1 } }, '`subscriptions` to be an object of names'],
    [{ client: {} }, '`client` to be a PubSub client'],
    [{ maxHeld: -1 }, '`maxHeld` to be an integer >= 0'],
    [{ topic: 'x' }, 'unknown option `topic`'],
  ])('are checked: %j', (options, text) => {
    expect(() => new PubSubBroker(options as never)).toThrow(text);
  });
});
