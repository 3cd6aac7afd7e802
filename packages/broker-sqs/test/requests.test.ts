// What a task costs in requests, what an idle worker costs, and that long polls are in nobody's way.

import { SQSClient } from '@aws-sdk/client-sqs';
import { defineTask, int64, Server, silentLogger } from '@machinery/core';
import { MemoryBackend } from '@machinery/core/memory';
import { sqsServer } from '@machinery/services';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { httpProxy } from './http-proxy.ts';
import { consume, message, newName, open, take } from './setup.ts';

const sqs = await sqsServer();
afterAll(() => sqs.stop());

async function scene() {
  const queue = newName();
  await sqs.createQueue(queue);
  return { queue, proxy: await httpProxy(sqs) };
}

describe('requests', { timeout: 30_000 }, () => {
  it('carry ten messages under load: less than one a task', async () => {
    const { queue, proxy } = await scene();
    const server = new Server({
      broker: open(sqs, { endpoint: proxy.url }),
      backend: new MemoryBackend(),
      defaultQueue: queue,
      logger: silentLogger,
    });
    onTestFinished(() => void server.close());
    const echo = defineTask('echo', { args: [int64], returns: int64 });
    server.handle(echo, (_, n) => n);
    const count = 500;
    const results = await Promise.all(Array.from({ length: count }, (_, n) => server.send(echo(n))));
    expect(proxy.count('SendMessageBatch')).toBeLessThan(count / 8);
    await server.newWorker('worker', { concurrency: 50 }).start();
    const values = await Promise.all(results.map((result) => result.get({ timeoutMs: 20_000 })));
    expect(values).toEqual(results.map((_, n) => n));
    expect(proxy.requests.length).toBeLessThan(count);
    expect(proxy.count('ChangeMessageVisibilityBatch')).toBe(0);
  });

  it('are one at a time while there is nothing to do', async () => {
    const { queue, proxy } = await scene();
    const consumer = await consume(open(sqs, { endpoint: proxy.url }), queue, 100);
    expect(await consumer.exchange([], 100, AbortSignal.timeout(3_300))).toEqual([]);
    expect(proxy.requests.map(({ action }) => action)).toEqual([
      'GetQueueAttributes',
      ...Array(4).fill('ReceiveMessage'),
    ]);
    expect(proxy.requests.at(-1)?.input).toMatchObject({ MaxNumberOfMessages: 10, WaitTimeSeconds: 1 });
  });

  it('wait longer the longer a worker lives', async () => {
    const { queue, proxy } = await scene();
    const consumer = await consume(open(sqs, { endpoint: proxy.url, waitTimeSeconds: 2 }), queue);
    await consumer.exchange([], 1, AbortSignal.timeout(2_500));
    const waits = proxy.requests
      .filter(({ action }) => action === 'ReceiveMessage')
      .map(({ input }) => input.WaitTimeSeconds);
    expect(waits).toEqual([1, 2]);
  });

  it('ask for no more than the free slots, several at once while the queue is full', async () => {
    const { queue, proxy } = await scene();
    const broker = open(sqs, { endpoint: proxy.url });
    await broker.publish(Array.from({ length: 100 }, (_, i) => message(queue, `${i}`)));
    const consumer = await consume(broker, queue, 34, 34);
    let [underWay, most] = [0, 0];
    proxy.answer = ({ action, input }) => {
      if (action === 'ReceiveMessage') {
        underWay += input.MaxNumberOfMessages as number;
        most = Math.max(most, underWay);
      }
      return undefined;
    };
    const taken = await take(consumer, 34, { acks: false });
    expect(taken).toHaveLength(34);
    expect(underWay).toBe(34);
    const asked = proxy.requests
      .filter(({ action }) => action === 'ReceiveMessage')
      .map(({ input }) => input.MaxNumberOfMessages);
    expect(asked).toEqual([10, 10, 10, 4]);
    expect(await consumer.exchange([], 5, AbortSignal.timeout(200))).toEqual([]);
    expect(underWay).toBe(34);
  });

  it('that wait do not keep others from their sockets, also with a client that was given', async () => {
    const client = new SQSClient({
      endpoint: new URL(sqs.url).origin,
      requestHandler: { httpAgent: { maxSockets: 2 } },
    });
    onTestFinished(() => client.destroy());
    const broker = open(sqs, { client });
    const queues = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const { queue } = await scene();
        return queue;
      }),
    );
    const consumers = await Promise.all(queues.map((queue) => consume(broker, queue)));
    const waiting = consumers.map((consumer) => consumer.exchange([], 1, AbortSignal.timeout(900)));
    const startMs = performance.now();
    expect(await broker.publish([message(queues[0] as string, '1')])).toEqual([{ status: 'stored' }]);
    expect(performance.now() - startMs).toBeLessThan(800);
    const [first] = await Promise.all(waiting);
    expect(first).toHaveLength(1);
    await broker.close();
    await expect(client.config.region()).resolves.toBeDefined(); // it is still the caller's
  });

  it('find queues by their names where no URL is given, and by single URLs', async () => {
    const [{ queue: named }, { queue: given }] = [await scene(), await scene()];
    const broker = open(sqs, {
      url: undefined as never,
      endpoint: new URL(sqs.url).origin,
      queueUrls: { given: `${sqs.url}/${given}` },
    });
    expect(await broker.publish([message(named, '1'), message('given', '2'), message('not-there', '3')])).toMatchObject(
      [
        { status: 'stored' },
        { status: 'stored' },
        { status: 'failed', retryable: false, error: { code: 'ERR_MACHINERY_BROKER_FAILED' } },
      ],
    );
    expect(await take(await consume(broker, 'given'), 1)).toHaveLength(1);
  });

  it('ask for the URL of a queue once, however many messages are for it', async () => {
    const { queue, proxy } = await scene();
    const broker = open(sqs, { url: undefined as never, endpoint: proxy.url });
    await broker.publish(Array.from({ length: 20 }, (_, i) => message(queue, `${i}`)));
    expect(proxy.requests.map(({ action }) => action)).toEqual(['GetQueueUrl', 'SendMessageBatch', 'SendMessageBatch']);
  });
});
