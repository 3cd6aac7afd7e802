// Messages stay hidden while they are in hand, come again when their worker dies, and are visible at once when it stops.

import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs';
import { currentTask, type Delivery, defineTask, int64, Server, silentLogger } from '@machinery/core';
import { MemoryBackend } from '@machinery/core/memory';
import { sqsServer } from '@machinery/services';
import { afterAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import type { SqsDelivery } from '../src/sqs-delivery.ts';
import { httpProxy, refusal } from './http-proxy.ts';
import { consume, counts, message, newName, open, raw, receive, take, uuidOf } from './setup.ts';

const sqs = await sqsServer();
afterAll(() => sqs.stop());

async function newQueue(end = ''): Promise<string> {
  const name = newName(end);
  await sqs.createQueue(name);
  return name;
}

describe('a message in hand', { timeout: 30_000 }, () => {
  it('stays hidden for as long as it takes, renewed before half of the timeout', async () => {
    const queue = await newQueue();
    const proxy = await httpProxy(sqs);
    const broker = open(sqs, { endpoint: proxy.url, visibilityTimeoutSeconds: 3 });
    await broker.publish(Array.from({ length: 12 }, (_, i) => message(queue, `${i}`)));
    const consumer = await consume(broker, queue, 12);
    const takenAt = performance.now();
    const taken = await take(consumer, 12, { acks: false });
    let renewedAt = 0;
    proxy.answer = ({ action }) => {
      if (action === 'ChangeMessageVisibilityBatch' && renewedAt === 0) renewedAt = performance.now();
      return undefined;
    };
    const other = await consume(open(sqs), queue);
    expect(await other.exchange([], 10, AbortSignal.timeout(4_500))).toEqual([]);
    expect(renewedAt - takenAt).toBeLessThan(3_000);
    expect(taken.every((delivery) => consumer.owns?.(delivery))).toBe(true);
    await consumer.settle(taken.map((delivery) => ({ kind: 'ack', delivery })));
    expect(await counts(raw(sqs), `${sqs.url}/${queue}`)).toEqual({ visible: 0, inHand: 0, delayed: 0 });
  });

  it('is renewed for the twelve hours that SQS allows in all, and is lost then', async () => {
    const queue = await newQueue();
    const proxy = await httpProxy(sqs);
    const broker = open(sqs, { endpoint: proxy.url, visibilityTimeoutSeconds: 18_000 });
    await broker.publish([message(queue, '1')]);
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const consumer = await consume(broker, queue);
    const [delivery] = (await take(consumer, 1, { acks: false })) as [SqsDelivery];
    const passed = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1_000);
    for (let renewals = 0; renewals < 5; renewals++) {
      await passed(3_000);
      await passed(3_000);
      while (delivery.renewedAt < performance.now()) await sleep(5); // which is real
    }
    const asked = proxy.requests
      .filter(({ action }) => action === 'ChangeMessageVisibilityBatch')
      .map(({ input }) => (input.Entries as readonly { VisibilityTimeout?: number }[])[0]?.VisibilityTimeout);
    expect(asked).toEqual([18_000, 18_000, 18_000, 18_000, expect.closeTo(43_140 - 30_000, -1)]);
    await passed(13_000);
    expect(consumer.owns?.(delivery)).toBe(true);
    await passed(200);
    expect(consumer.owns?.(delivery)).toBe(false);
    expect(proxy.count('ChangeMessageVisibilityBatch')).toBe(asked.length);
  });

  it("is nobody's when it could not be renewed, and what became of it here is ignored", async () => {
    const queue = await newQueue();
    const proxy = await httpProxy(sqs);
    const broker = open(sqs, { endpoint: proxy.url, visibilityTimeoutSeconds: 3 });
    await broker.publish([message(queue, '1')]);
    const consumer = await consume(broker, queue);
    const [delivery] = (await take(consumer, 1, { acks: false })) as [Delivery];
    proxy.answer = ({ action }) =>
      action === 'ChangeMessageVisibilityBatch' ? refusal(503, 'ServiceUnavailable') : undefined;
    expect(consumer.owns?.(delivery)).toBe(true);
    const [again] = (await take(await consume(open(sqs), queue), 1, { acks: false })) as [Delivery];
    expect(again).toMatchObject({ redelivered: true, deliveryCount: 2 });
    expect(consumer.owns?.(delivery)).toBe(false);
    await consumer.settle([{ kind: 'ack', delivery }]);
    expect(proxy.count('DeleteMessageBatch')).toBe(0);
  });

  it('is visible at once when its worker stops for good, and after its tasks when it stops', async () => {
    const queue = await newQueue();
    const hang = defineTask('hang', { args: [int64], returns: int64 });
    const server = new Server({
      broker: open(sqs),
      backend: new MemoryBackend(),
      defaultQueue: queue,
      logger: silentLogger,
    });
    onTestFinished(() => void server.close());
    let begun = 0;
    server.handle(hang, async (task, n) => {
      begun++;
      await new Promise((resolve) => task.signal.addEventListener('abort', resolve));
      return n;
    });
    const worker = server.newWorker('worker', { concurrency: 3 });
    await worker.start();
    for (let n = 0; n < 5; n++) await server.send(hang(n));
    while (begun < 3) await sleep(10);
    await worker.quit({ timeoutMs: 0 });
    expect(await counts(raw(sqs), `${sqs.url}/${queue}`)).toEqual({ visible: 5, inHand: 0, delayed: 0 });
  });

  it('is given back by a worker that is paused', async () => {
    const queue = await newQueue();
    const broker = open(sqs);
    const consumer = await consume(broker, queue);
    const abort = new AbortController();
    const waiting = consumer.exchange([], 10, abort.signal);
    await sleep(100);
    abort.abort();
    expect(await waiting).toEqual([]);
    await broker.publish([message(queue, '1')]); // which the receive that goes on gets
    expect((await take(await consume(open(sqs), queue), 1)).map(uuidOf)).toEqual(['1']);
  });
});

describe('messages that nobody finishes', { timeout: 40_000 }, () => {
  it('of a task that failed and asks for it are left to the redrive policy, and not run again', async () => {
    const [queue, dead] = [newName(), newName()];
    const client = raw(sqs);
    const QueueUrl = await sqs.createQueue(dead);
    const { Attributes } = await client.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['QueueArn'] }));
    const policy = { deadLetterTargetArn: Attributes?.QueueArn, maxReceiveCount: 2 };
    await sqs.createQueue(queue, { RedrivePolicy: JSON.stringify(policy) });
    const broker = open(sqs, { visibilityTimeoutSeconds: 1 });
    const server = new Server({ broker, backend: new MemoryBackend(), defaultQueue: queue, logger: silentLogger });
    onTestFinished(() => void server.close());
    const handles: unknown[] = [];
    server.registerTask('fail', () => {
      handles.push(currentTask()?.signature.sqsReceiptHandle);
      throw new Error('no');
    });
    await server.newWorker('worker').start();
    const result = await server.send({ name: 'fail', stopTaskDeletionOnError: true });
    await expect(result.get({ timeoutMs: 10_000 })).rejects.toThrow('no');
    let got: Awaited<ReturnType<typeof receive>>;
    for (let tries = 0; got === undefined && tries < 15; tries++) got = await receive(client, QueueUrl);
    expect(got?.Body).toContain(result.uuid);
    expect(handles).toEqual([expect.stringMatching(/./)]);
  });

  it('of an unknown task come again later and later, and are known to the first worker that has it', async () => {
    const queue = await newQueue();
    const proxy = await httpProxy(sqs);
    const later = defineTask('later', { args: [int64], returns: int64 });
    const backend = new MemoryBackend();
    const options = { backend, defaultQueue: queue, logger: silentLogger };
    const [without, having] = [
      new Server({ broker: open(sqs, { endpoint: proxy.url }), ...options }),
      new Server({ broker: open(sqs), ...options }),
    ];
    onTestFinished(() => void Promise.all([without.close(), having.close()]));
    const worker = without.newWorker('without', { maxDeliveries: 3 });
    await worker.start();
    const result = await having.send(later(7));
    const hidden = () =>
      proxy.requests
        .filter(({ action }) => action === 'ChangeMessageVisibilityBatch')
        .map(({ input }) => (input.Entries as unknown as { VisibilityTimeout: number }[])[0]?.VisibilityTimeout);
    const delayed = () =>
      proxy.requests
        .filter(({ action }) => action === 'SendMessageBatch')
        .map(({ input }) => (input.Entries as unknown as { DelaySeconds: number }[])[0]?.DelaySeconds);
    while (delayed().length < 1) await sleep(20);
    expect(hidden().slice(0, 4)).toEqual([0, 1, 1, 1]);
    expect(delayed()).toEqual([1]);
    await worker.quit();
    having.handle(later, (_, n) => n);
    await having.newWorker('having', { maxDeliveries: 3 }).start();
    expect(await result.get({ timeoutMs: 15_000 })).toBe(7); // its copies count from the start
  });

  it('that are no signature, without a dead-letter queue, are hidden and not dropped', async () => {
    const queue = await newQueue();
    const proxy = await httpProxy(sqs);
    const broker = open(sqs, { endpoint: proxy.url });
    await broker.publish([{ ...message(queue, '1'), body: 'nonsense' }]);
    const consumer = await consume(broker, queue);
    const [delivery] = (await take(consumer, 1, { acks: false })) as [Delivery];
    await consumer.settle([{ kind: 'dead', delivery, reason: 'nonsense' }]);
    const [request] = proxy.requests.filter(({ action }) => action === 'ChangeMessageVisibilityBatch');
    expect(request?.input.Entries).toMatchObject([{ VisibilityTimeout: 60 }]);
    await consumer.close();
    expect(await counts(raw(sqs), `${sqs.url}/${queue}`)).toEqual({ visible: 0, inHand: 1, delayed: 0 });
  });

  it('that are no signature are hidden for as long as SQS takes, when they have come again and again', async () => {
    const queue = await newQueue();
    const proxy = await httpProxy(sqs);
    const consumer = await consume(open(sqs, { endpoint: proxy.url }), queue);
    const Messages = [
      {
        MessageId: '1',
        ReceiptHandle: '1',
        Body: 'nonsense',
        MD5OfBody: createHash('md5').update('nonsense').digest('hex'),
        Attributes: { ApproximateReceiveCount: '9' },
      },
    ];
    proxy.answer = ({ action }) => (action === 'ReceiveMessage' ? { status: 200, body: { Messages } } : undefined);
    const [delivery] = (await take(consumer, 1, { acks: false })) as [Delivery];
    await consumer.settle([{ kind: 'dead', delivery, reason: 'nonsense' }]);
    const [entry] = proxy.requests.flatMap(({ action, input: { Entries = [] } }) =>
      action === 'ChangeMessageVisibilityBatch' ? (Entries as readonly { VisibilityTimeout?: number }[]) : [],
    );
    expect(entry?.VisibilityTimeout).toBeGreaterThan(43_000);
    expect(entry?.VisibilityTimeout).toBeLessThanOrEqual(43_140); // SQS counts from the begin of the request that received it
  });
});
