// FIFO queues: groups, deduplication, order, and what they cannot delay.

import { setTimeout as sleep } from 'node:timers/promises';
import { type Delivery, MachineryError, Server, silentLogger } from '@machinery/core';
import { MemoryBackend } from '@machinery/core/memory';
import { sqsServer } from '@machinery/services';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { Groups } from '../src/groups.ts';
import { SqsDelivery } from '../src/sqs-delivery.ts';
import { consume, message, newName, open, raw, receive, take, uuidOf } from './setup.ts';

const sqs = await sqsServer();
afterAll(() => sqs.stop());

async function fifo(): Promise<string> {
  const queue = newName('.fifo');
  await sqs.createQueue(queue);
  return queue;
}

const inGroup = (queue: string, uuid: string, brokerMessageGroupId = 'a') =>
  message(queue, uuid, { brokerMessageGroupId });

describe('a FIFO queue', { timeout: 30_000 }, () => {
  it('refuses a message without a group that SQS takes, names it, and stores the others', async () => {
    const queue = await fifo();
    const groups = ['a', undefined, 'b', '', 'two words', 'x'.repeat(129)];
    const outcomes = await open(sqs).publish(
      groups.map((group, i) => message(queue, `${i}`, group === undefined ? {} : { brokerMessageGroupId: group })),
    );
    const { length } = outcomes.filter(({ status }) => status === 'stored');
    expect(length).toBe(2);
    for (const i of [1, 3, 4, 5])
      expect(outcomes[i]).toMatchObject({
        retryable: false,
        error: {
          code: 'ERR_MACHINERY_INVALID_SIGNATURE',
          message: `task task (${i}) needs a \`brokerMessageGroupId\` of 1 to 128 ASCII characters without spaces, since ${queue} is a FIFO queue`,
        },
      });
  });

  it('has the group and the UUID of a task, as Go writes them, so that a second send is swallowed', async () => {
    const queue = await fifo();
    const broker = open(sqs);
    await broker.publish([inGroup(queue, 'task_1')]);
    await broker.publish([inGroup(queue, 'task_1')]);
    const got = await receive(raw(sqs), `${sqs.url}/${queue}`);
    expect(got?.Attributes).toMatchObject({ MessageGroupId: 'a', MessageDeduplicationId: 'task_1' });
    expect(await receive(raw(sqs), `${sqs.url}/${queue}`, 0)).toBeUndefined();
  });

  it('takes a UUID that is no deduplication ID', async () => {
    const queue = await fifo();
    const uuids = ['with a space', 'é', 'x'.repeat(200)];
    expect(await open(sqs).publish(uuids.map((uuid) => inGroup(queue, uuid)))).toEqual(
      uuids.map(() => ({ status: 'stored' })),
    );
  });

  it('refuses an ETA', async () => {
    const queue = await fifo();
    const late = message(queue, '1', { brokerMessageGroupId: 'a', dueAtMs: Date.now() + 5_000 });
    const [outcome] = await open(sqs).publish([late]);
    expect(outcome).toMatchObject({
      status: 'failed',
      retryable: false,
      error: { code: 'ERR_MACHINERY_NOT_SUPPORTED' },
    });
    expect((outcome as { error: Error }).error.message).toContain('FIFO');
  });

  it('tries a task again after its wait, within five minutes of the first attempt', async () => {
    const queue = await fifo();
    const server = new Server({
      broker: open(sqs),
      backend: new MemoryBackend(),
      defaultQueue: queue,
      logger: silentLogger,
    });
    onTestFinished(() => void server.close());
    const attempts: number[] = [];
    server.registerTask('flaky', () => {
      attempts.push(performance.now());
      if (attempts.length < 3) throw new Error('not yet');
    });
    await server.newWorker('worker').start();
    const result = await server.send({
      name: 'flaky',
      brokerMessageGroupId: 'a',
      retryCount: 3,
      headers: { 'machinery-backoff': '{"delayMs":600,"factor":2}' },
    });
    await result.get({ timeoutMs: 15_000 });
    const [first = 0, second = 0, third = 0] = attempts;
    expect(attempts).toHaveLength(3);
    expect(second - first).toBeGreaterThanOrEqual(600);
    expect(third - second).toBeGreaterThanOrEqual(1_200);
  });

  it('keeps the order within groups, whoever works and however many slots are free', async () => {
    const queue = await fifo();
    const producer = open(sqs);
    const groups = ['a', 'b', 'c', 'd'];
    const sent = Array.from({ length: 80 }, (_, i) => inGroup(queue, `${groups[i % 4]}-${i}`, groups[i % 4]));
    const done: string[] = [];
    const running = new Set<string>();
    const end = new AbortController();
    const work = async () => {
      const consumer = await consume(open(sqs), queue, 5);
      while (!end.signal.aborted) {
        const taken = await consumer.exchange([], 5, end.signal);
        await Promise.all(
          taken.map(async (delivery) => {
            const [group = ''] = uuidOf(delivery).split('-');
            expect(running.has(group)).toBe(false);
            running.add(group);
            await sleep(Math.random() * 5);
            done.push(uuidOf(delivery));
            running.delete(group);
            await consumer.settle([{ kind: 'ack', delivery }]);
          }),
        );
        if (done.length === sent.length) end.abort();
      }
    };
    const working = Promise.all([work(), work()]);
    expect((await producer.publish(sent)).every(({ status }) => status === 'stored')).toBe(true);
    await working;
    for (const group of groups)
      expect(done.filter((uuid) => uuid.startsWith(group))).toEqual(
        sent.map(({ signature }) => signature.uuid as string).filter((uuid) => uuid.startsWith(group)),
      );
  });

  it('does not let what comes after overtake a message that goes back', async () => {
    const queue = await fifo();
    const broker = open(sqs);
    await broker.publish([inGroup(queue, '1'), inGroup(queue, '2'), inGroup(queue, '3', 'b')]);
    const consumer = await consume(broker, queue);
    const taken = await take(consumer, 2, { acks: false });
    const first = taken.find((one) => uuidOf(one) === '1') as Delivery;
    await consumer.settle([{ kind: 'requeue', position: 'back', delayMs: 900, delivery: first }]);
    expect((await take(consumer, 1)).map(uuidOf)).toEqual(['1']);
    expect((await take(consumer, 1)).map(uuidOf)).toEqual(['2']);
  });

  it('does not count deliveries, since a task that no worker knows yet comes again and again', async () => {
    const queue = await fifo();
    const broker = open(sqs);
    await broker.publish([inGroup(queue, '1')]);
    const consumer = await consume(broker, queue);
    for (let times = 0; times < 8; times++) {
      const [delivery] = await take(consumer, 1, { acks: false });
      expect(delivery?.deliveryCount).toBeUndefined();
      expect(delivery?.redelivered).toBe(times > 0);
      await consumer.settle([{ kind: 'requeue', position: 'back', delivery: delivery as Delivery }]);
    }
  });

  it('gets nothing of a group after a message that could not be stored', async () => {
    const queue = await fifo();
    const broker = open(sqs, { endpoint: 'http://127.0.0.1:9' }); // nobody listens
    const outcomes = await broker.publish(Array.from({ length: 12 }, (_, i) => inGroup(queue, `${i}`)));
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: 'failed', retryable: true });
      expect(MachineryError.is((outcome as { error: Error }).error, 'ERR_MACHINERY_BROKER_UNAVAILABLE')).toBe(true);
    }
    expect((outcomes.at(-1) as { error: Error }).error.message).toContain('before it in group a was not stored');
  });
});

describe('messages of one group that came together', () => {
  const delivery = (groupId?: string) =>
    new SqsDelivery(
      {
        Body: '',
        ReceiptHandle: 'r',
        MessageId: 'm',
        ...(groupId !== undefined && { Attributes: { MessageGroupId: groupId } }),
      },
      1_000,
    );

  it('are handed out one after the other', () => {
    const groups = new Groups();
    const [a1, b1, a2, a3] = ['a', 'b', 'a', 'a'].map((group) => delivery(group)) as [
      SqsDelivery,
      SqsDelivery,
      SqsDelivery,
      SqsDelivery,
    ];
    expect([a1, b1, a2, a3].map((one) => groups.admit(one))).toEqual([true, true, false, false]);
    expect(groups.after(b1)).toBeUndefined();
    expect(groups.after(a1)).toBe(a2);
    expect(groups.after(a2)).toBe(a3);
    expect(groups.after(a3)).toBeUndefined();
    expect(groups.admit(delivery('a'))).toBe(true);
  });

  it('all go back behind one that goes back', () => {
    const groups = new Groups();
    const [a1, a2, a3] = ['a', 'a', 'a'].map((group) => delivery(group)) as [SqsDelivery, SqsDelivery, SqsDelivery];
    for (const one of [a1, a2, a3]) groups.admit(one);
    expect(groups.behind(a1)).toEqual([a2, a3]);
    expect(groups.admit(delivery('a'))).toBe(true);
  });

  it('are not held where there are no groups', () => {
    const groups = new Groups();
    expect([delivery(), delivery()].map((one) => groups.admit(one))).toEqual([true, true]);
  });
});
