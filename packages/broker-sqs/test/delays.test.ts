// Delays: whole seconds, never early, and hops through a queue of their own.

import { ChangeMessageVisibilityCommand, SendMessageBatchCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import { silentLogger } from '@machinery/core';
import { sqsServer } from '@machinery/services';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { nextHop } from '../src/delays.ts';
import { consume, counts, message, newName, open, raw, receive, take, uuidOf } from './setup.ts';

const sqs = await sqsServer();
afterAll(() => sqs.stop());

const hourMs = 3_600_000;

async function newQueue(): Promise<string> {
  const name = newName();
  await sqs.createQueue(name);
  return name;
}

describe('the next hop of a message', () => {
  it('is its queue when it is due within 15 minutes, in whole seconds that are never too few', () => {
    const seconds = (ms: number) => nextHop(1_000_000 + ms, 1_000_000);
    expect(seconds(-5)).toEqual({ to: 'its queue', delaySeconds: 0 });
    expect(seconds(1)).toEqual({ to: 'its queue', delaySeconds: 1 });
    expect(seconds(1_000)).toEqual({ to: 'its queue', delaySeconds: 1 });
    expect(seconds(1_001)).toEqual({ to: 'its queue', delaySeconds: 2 });
    expect(seconds(900_000)).toEqual({ to: 'its queue', delaySeconds: 900 });
    expect(seconds(900_001)).toEqual({ to: 'the delay queue', delaySeconds: 61 });
    expect(seconds(hourMs)).toEqual({ to: 'the delay queue', delaySeconds: 900 });
  });

  it('always ends long before the message is due, and the last is to its queue', () => {
    for (const dueAtMs of [901, 1_000, 1_739, 1_740, 1_741, 5_000, 100_000].map((seconds) => seconds * 1_000)) {
      let nowMs = 0;
      for (;;) {
        const { to, delaySeconds } = nextHop(dueAtMs, nowMs);
        expect(delaySeconds).toBeLessThanOrEqual(900);
        nowMs += delaySeconds * 1_000;
        if (to === 'its queue') break;
        expect(dueAtMs - nowMs).toBeGreaterThanOrEqual(840_000);
      }
      expect(nowMs).toBe(dueAtMs);
    }
  });
});

describe('delays', { timeout: 30_000 }, () => {
  it('are rounded up to seconds on the queue itself, which a Go worker sees', async () => {
    const queue = await newQueue();
    const dueAtMs = Date.now() + 1_100;
    await open(sqs).publish([message(queue, '1', { dueAtMs })]);
    const got = await receive(raw(sqs), `${sqs.url}/${queue}`, 4);
    expect(Date.now()).toBeGreaterThanOrEqual(dueAtMs);
    expect(got?.Body).toContain('"1"');
  });

  it('hold what a queue gives out too early, by a little or by much', async () => {
    const queue = await newQueue();
    const client = raw(sqs);
    const due = new Map([400, 2_500].map((ms) => [`${ms}`, Date.now() + ms]));
    for (const [uuid, dueAtMs] of due) {
      const MessageAttributes = { 'machinery-due-at': { DataType: 'String', StringValue: String(dueAtMs) } };
      await client.send(
        new SendMessageCommand({
          QueueUrl: `${sqs.url}/${queue}`,
          MessageBody: message(queue, uuid).body,
          MessageAttributes,
        }),
      );
    }
    const consumer = await consume(open(sqs), queue);
    for (const [uuid, dueAtMs] of due) {
      const [delivery] = await take(consumer, 1);
      expect(uuidOf(delivery as { body: string })).toBe(uuid);
      expect(Date.now()).toBeGreaterThanOrEqual(dueAtMs);
    }
  });

  it('hold what Go sent, whose delays are a part of a second too short', async () => {
    const queue = await newQueue();
    const dueAtMs = Date.now() + 900;
    const ETA = new Date(dueAtMs).toISOString();
    const MessageBody = JSON.stringify({ UUID: '1', Name: 'task', RoutingKey: '', ETA, GroupUUID: '' });
    await raw(sqs).send(new SendMessageCommand({ QueueUrl: `${sqs.url}/${queue}`, MessageBody }));
    expect(await take(await consume(open(sqs), queue), 1)).toHaveLength(1);
    expect(Date.now()).toBeGreaterThanOrEqual(dueAtMs);
  });

  it('that a worker has waited out without a free slot are over for others, too', async () => {
    const queue = await newQueue();
    const early = { DataType: 'String', StringValue: String(Date.now() + 700) };
    const QueueUrl = `${sqs.url}/${queue}`;
    const [MessageBody, MessageAttributes] = [message(queue, 'early').body, { 'machinery-due-at': early }];
    await raw(sqs).send(new SendMessageCommand({ QueueUrl, MessageBody, MessageAttributes }));
    const busy = await consume(open(sqs), queue, 1);
    const taking = take(busy, 1, { acks: false });
    await vi.waitFor(async () => expect((await counts(raw(sqs), QueueUrl)).inHand).toBe(1));
    await open(sqs).publish([message(queue, 'now')]);
    expect((await taking).map(uuidOf)).toEqual(['now']);
    expect((await take(await consume(open(sqs), queue), 1)).map(uuidOf)).toEqual(['early']);
  });

  it('of more than 15 minutes are refused without a delay queue, by the capability and by the broker', async () => {
    const queue = await newQueue();
    const broker = open(sqs);
    expect(broker.capabilities.maxDelayMs).toBe(900_000);
    const [outcome] = await broker.publish([message(queue, '1', { dueAtMs: Date.now() + hourMs })]);
    expect(outcome).toMatchObject({
      status: 'failed',
      retryable: false,
      error: { code: 'ERR_MACHINERY_NOT_SUPPORTED' },
    });
    expect((outcome as { error: Error }).error.message).toContain('`delayQueue`');
  });

  it('of more than 15 minutes are refused when the delay queue does not exist, which the error names', async () => {
    const queue = await newQueue();
    const broker = open(sqs, { delayQueue: 'not-there' });
    const [late, now] = await broker.publish([
      message(queue, '1', { dueAtMs: Date.now() + hourMs }),
      message(queue, '2'),
    ]);
    expect(late).toMatchObject({ status: 'failed', retryable: false, error: { code: 'ERR_MACHINERY_BROKER_FAILED' } });
    expect((late as { error: Error }).error.message).toMatch(/queue not-there.*create it first/);
    expect(now).toEqual({ status: 'stored' });
  });

  it('of more than 15 minutes wait in the delay queue, for 15 minutes at most', async () => {
    const [queue, delayQueue] = [await newQueue(), await newQueue()];
    await open(sqs, { delayQueue }).publish([message(queue, '1', { dueAtMs: Date.now() + hourMs })]);
    expect(await counts(raw(sqs), `${sqs.url}/${delayQueue}`)).toEqual({ visible: 0, inHand: 0, delayed: 1 });
    expect(await counts(raw(sqs), `${sqs.url}/${queue}`)).toEqual({ visible: 0, inHand: 0, delayed: 0 });
  });

  it('hop: what comes out of the delay queue goes on to its queue, or waits there once more', async () => {
    const [queue, delayQueue] = [await newQueue(), await newQueue()];
    const client = raw(sqs);
    const dueAtMs = Date.now() + 2_200;
    const send = (uuid: string, due: number) =>
      client.send(
        new SendMessageCommand({
          QueueUrl: `${sqs.url}/${delayQueue}`,
          MessageBody: message(queue, uuid).body,
          MessageAttributes: {
            'machinery-due-at': { DataType: 'String', StringValue: String(due) },
            'machinery-queue': { DataType: 'String', StringValue: queue },
          },
        }),
      );
    await send('soon', dueAtMs);
    await send('late', Date.now() + hourMs);
    const consumer = await consume(open(sqs, { delayQueue }), queue);
    const [delivery] = await take(consumer, 1);
    expect(Date.now()).toBeGreaterThanOrEqual(dueAtMs);
    expect(delivery).toMatchObject({ body: message(queue, 'soon').body, redelivered: false, deliveryCount: 1 });
    expect(await counts(client, `${sqs.url}/${delayQueue}`)).toEqual({ visible: 0, inHand: 0, delayed: 1 });
  });

  it('hop: what was moved twice, perhaps, is a redelivery', async () => {
    const [queue, delayQueue] = [await newQueue(), await newQueue()];
    const client = raw(sqs);
    await client.send(
      new SendMessageCommand({
        QueueUrl: `${sqs.url}/${delayQueue}`,
        MessageBody: message(queue, '1').body,
        MessageAttributes: { 'machinery-queue': { DataType: 'String', StringValue: queue } },
      }),
    );
    const { ReceiptHandle } = (await receive(client, `${sqs.url}/${delayQueue}`)) ?? {};
    await client.send(
      new ChangeMessageVisibilityCommand({ QueueUrl: `${sqs.url}/${delayQueue}`, ReceiptHandle, VisibilityTimeout: 0 }),
    );
    const [delivery] = await take(await consume(open(sqs, { delayQueue }), queue), 1);
    expect(delivery?.redelivered).toBe(true);
  });

  it("hop: a message that cannot be moved is in nobody's way", async () => {
    const [queue, delayQueue] = [await newQueue(), await newQueue()];
    const to = (target: string) => ({ 'machinery-queue': { DataType: 'String', StringValue: target } });
    for (let from = 0; from < 30; from += 10) {
      const Entries = Array.from({ length: 10 }, (_, i) => ({
        Id: `${i}`,
        MessageBody: message(queue, `${from + i}`).body,
        MessageAttributes: to(from + i === 5 ? 'gone' : queue),
      }));
      await raw(sqs).send(new SendMessageBatchCommand({ QueueUrl: `${sqs.url}/${delayQueue}`, Entries }));
    }
    expect(await take(await consume(open(sqs, { delayQueue }), queue), 29)).toHaveLength(29);
    expect(await counts(raw(sqs), `${sqs.url}/${delayQueue}`)).toEqual({ visible: 0, inHand: 1, delayed: 0 });
  });

  it('hop: no worker consumes the delay queue', async () => {
    const delayQueue = await newQueue();
    await expect(consume(open(sqs, { delayQueue }), delayQueue)).rejects.toMatchObject({
      code: 'ERR_MACHINERY_INVALID_OPTION',
    });
  });

  it('hop: a worker says once that the delay queue is gone', async () => {
    const queue = await newQueue();
    const broker = open(sqs, { delayQueue: 'gone' });
    const warn = vi.fn();
    broker.attach({ defaultQueue: queue, logger: { ...silentLogger, warn } });
    await consume(broker, queue);
    await vi.waitFor(() => expect(warn).toHaveBeenCalledTimes(1), { timeout: 5_000 });
    expect(warn.mock.calls[0]?.[0]).toContain('queue gone');
  });
});
