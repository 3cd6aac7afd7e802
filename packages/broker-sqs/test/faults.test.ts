// What SQS answers when it has a bad day: as a whole, for single entries, or not at all. And an SQS that goes away.

import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeleteQueueCommand, ReceiveMessageCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { type Delivery, defineTask, int64, type Message, type Outcome, Server, silentLogger } from '@machinery/core';
import { MemoryBackend } from '@machinery/core/memory';
import { startSqs } from '@machinery/services';
import { afterAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import type { SqsBroker } from '../src/index.ts';
import { type HttpProxy, httpProxy, type Request, refusal } from './http-proxy.ts';
import { consume, counts, message, newName, open, raw, take, uuidOf } from './setup.ts';

const sqs = await startSqs();
afterAll(() => sqs.stop());

async function scene(queue = newName()) {
  await sqs.createQueue(queue);
  const proxy = await httpProxy(sqs);
  return { queue, proxy, broker: open(sqs, { endpoint: proxy.url }), url: `${sqs.url}/${queue}` };
}

/** Answers so for the requests of an action, `times` times. */
function failing(
  proxy: HttpProxy,
  action: string,
  answer: (request: Request) => ReturnType<HttpProxy['answer']>,
  times = 1,
) {
  let left = times;
  proxy.answer = (request) => (request.action === action && left-- > 0 ? answer(request) : undefined);
}

const summary = (outcome: Outcome | undefined) =>
  outcome?.status === 'failed'
    ? `failed ${(outcome.error as { code?: string }).code} ${outcome.retryable}`
    : outcome?.status;

describe('publishing', { timeout: 30_000 }, () => {
  const unavailable = 'failed ERR_MACHINERY_BROKER_UNAVAILABLE true';
  const refused = 'failed ERR_MACHINERY_BROKER_FAILED false';
  it.each([
    ['throttling', refusal(400, 'ThrottlingException'), unavailable],
    ['too many requests', refusal(403, 'RequestThrottled'), unavailable],
    ['a service that is not there', refusal(503, 'ServiceUnavailable'), unavailable],
    ['expired credentials', refusal(403, 'ExpiredToken'), unavailable],
    ['an error inside of the service', refusal(500, 'InternalFailure'), 'unknown'],
    ['no answer', 'cut' as const, 'unknown'],
    ['no rights', refusal(403, 'AccessDenied'), refused],
    ['a wrong key', refusal(403, 'InvalidClientTokenId'), refused],
    ['no queue', refusal(400, 'QueueDoesNotExist'), refused],
    ['a clock that is wrong', { ...refusal(403, 'SignatureDoesNotMatch'), date: new Date(0) }, unavailable],
  ])('says what %s means, and never sends again by itself', async (_, answer, expected) => {
    const { queue, proxy, broker } = await scene();
    failing(proxy, 'SendMessageBatch', () => answer, 9);
    const outcomes = await broker.publish([message(queue, '1'), message(queue, '2')]);
    expect(outcomes.map(summary)).toEqual([expected, expected]);
    expect(proxy.count('SendMessageBatch')).toBe(1);
  });

  it('says that a service is away which cannot be reached', async () => {
    const broker = open(sqs, { endpoint: 'http://127.0.0.1:9' });
    expect((await broker.publish([message('queue', '1')])).map(summary)).toEqual([unavailable]);
    await expect(broker.consume({ queue: 'queue', tag: 't', slots: 1, maxInHand: 2 })).rejects.toMatchObject({
      code: 'ERR_MACHINERY_BROKER_UNAVAILABLE',
    });
  });

  it('takes an answer that never comes for lost', async () => {
    const { queue, proxy } = await scene();
    const broker = open(sqs, { endpoint: proxy.url, requestTimeoutMs: 300 });
    await sqs.kill('SIGSTOP');
    try {
      expect((await broker.publish([message(queue, '1')])).map(summary)).toEqual(['unknown']);
    } finally {
      await sqs.kill('SIGCONT');
    }
  });

  it('takes an answer that begins and never ends for lost', async () => {
    const { queue, proxy } = await scene();
    const broker = open(sqs, { endpoint: proxy.url, requestTimeoutMs: 300 });
    failing(proxy, 'SendMessageBatch', () => 'stall');
    expect((await broker.publish([message(queue, '1')])).map(summary)).toEqual(['unknown']);
  });

  it('knows that nothing was sent when there was no connection in time', async () => {
    const { queue, proxy } = await scene();
    const requestHandler = { connectionTimeout: 200, requestTimeout: 1_000, httpAgent: { maxSockets: 1 } };
    const client = new SQSClient({ endpoint: proxy.url, maxAttempts: 1, requestHandler });
    onTestFinished(() => client.destroy());
    const broker = open(sqs, { client });
    failing(proxy, 'SendMessageBatch', () => 'silence');
    void broker.publish([message(queue, '1')]); // which keeps the only socket
    await vi.waitFor(() => expect(proxy.count('SendMessageBatch')).toBe(1));
    expect((await broker.publish([message(queue, '2')])).map(summary)).toEqual([unavailable]);
  });

  it('may be tried again when credentials cannot be had for a moment', async () => {
    const { queue } = await scene();
    const none = Object.assign(new Error('Could not load credentials'), { name: 'CredentialsProviderError' });
    const broker = open(sqs, { credentials: () => Promise.reject(none) });
    const [outcome] = await broker.publish([message(queue, '1')]);
    expect(summary(outcome)).toBe('failed ERR_MACHINERY_BROKER_FAILED true');
    await expect(broker.consume({ queue, tag: 't', slots: 1, maxInHand: 2 })).rejects.toMatchObject({
      code: 'ERR_MACHINERY_BROKER_FAILED', // a worker that has none says so at once
    });
  });

  it('looks at each entry that failed', async () => {
    const { queue, proxy, broker } = await scene();
    const failed = [
      { Id: '1', SenderFault: false, Code: 'InternalError', Message: 'try again' },
      { Id: '3', SenderFault: true, Code: 'InvalidMessageContents', Message: 'no' },
      {
        Id: '4',
        SenderFault: true,
        Code: 'InvalidParameterValue',
        Message: 'Reason: Message must be shorter than 262144 bytes.',
      },
    ];
    const messages = Array.from({ length: 5 }, (_, i) => message(queue, `${i}`));
    const md5 = createHash('md5')
      .update((messages[0] as Message).body)
      .digest('hex');
    const Successful = [{ Id: '0', MessageId: 'm', MD5OfMessageBody: md5 }];
    failing(proxy, 'SendMessageBatch', () => ({ status: 200, body: { Successful, Failed: failed } }));
    const outcomes = await broker.publish(messages);
    expect(outcomes.map(summary)).toEqual([
      'stored',
      unavailable,
      'unknown',
      refused,
      'failed ERR_MACHINERY_MESSAGE_TOO_LARGE false',
    ]);
  });

  it('halves a request that is too large for a service with an older limit', async () => {
    const { queue, proxy, broker, url } = await scene();
    proxy.answer = ({ action, input: { Entries = [] } }) =>
      action === 'SendMessageBatch' && Entries.length > 3 ? refusal(400, 'BatchRequestTooLong') : undefined;
    const outcomes = await broker.publish(Array.from({ length: 10 }, (_, i) => message(queue, `${i}`)));
    expect(outcomes.map(summary)).toEqual(Array(10).fill('stored'));
    expect((await counts(raw(sqs), url)).visible).toBe(10);
  });

  it('says what a queue with a lower limit says', async () => {
    const { queue, proxy, broker } = await scene();
    const text = 'One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.';
    failing(proxy, 'SendMessageBatch', () => refusal(400, 'InvalidParameterValue', text));
    const [outcome] = await broker.publish([message(queue, '1')]);
    expect(summary(outcome)).toBe('failed ERR_MACHINERY_MESSAGE_TOO_LARGE false');
    expect((outcome as { error: Error }).error.message).toContain('shorter than 1024 bytes');
  });

  it('keeps to ten messages and the limit of bytes in a request', async () => {
    const { queue, proxy } = await scene();
    const broker = open(sqs, { endpoint: proxy.url, maxMessageBytes: 2_000 });
    const large = (uuid: string) => ({ ...message(queue, uuid), body: `"${'x'.repeat(900)}"` });
    await broker.publish([
      ...Array.from({ length: 13 }, (_, i) => message(queue, `${i}`)),
      large('a'),
      large('b'),
      large('c'),
    ]);
    const sizes = proxy.requests
      .filter(({ action }) => action === 'SendMessageBatch')
      .map(({ input }) => input.Entries?.length);
    expect(sizes.toSorted()).toEqual([10, 2, 4].toSorted());
    const [outcome] = await broker.publish([{ ...message(queue, 'd'), body: 'x'.repeat(2_001) }]);
    expect(summary(outcome)).toBe('failed ERR_MACHINERY_MESSAGE_TOO_LARGE false');
  });

  it('escapes what SQS refuses, and nothing else', async () => {
    const { queue, proxy, broker } = await scene();
    const body = `{"UUID":"1","Name":"a\ufffeb\uffff\ud800 😀\ud7ff\ue000\ufffd\u0085"}`;
    await broker.publish([{ ...message(queue, '1'), body }]);
    const [{ input }] = proxy.requests as [Request];
    const [entry] = input.Entries as unknown as { MessageBody: string }[];
    const sent = entry?.MessageBody as string;
    expect(sent).toBe('{"UUID":"1","Name":"a\\ufffeb\\uffff\\ud800 😀\ud7ff\ue000\ufffd\u0085"}');
    expect(JSON.parse(sent)).toEqual(JSON.parse(body));
  });
});

describe('settling', { timeout: 30_000 }, () => {
  it('deletes again, with the next call, what was not deleted', async () => {
    const { queue, proxy, broker, url } = await scene();
    await broker.publish(Array.from({ length: 3 }, (_, i) => message(queue, `${i}`)));
    const consumer = await consume(broker, queue);
    const taken = await take(consumer, 3, { acks: false });
    const acks = taken.map((delivery) => ({ kind: 'ack', delivery }) as const);
    failing(proxy, 'DeleteMessageBatch', () => ({
      status: 200,
      body: {
        Successful: [{ Id: '0' }],
        Failed: [
          { Id: '1', SenderFault: false, Code: 'InternalError' },
          { Id: '2', SenderFault: false, Code: 'InternalError' },
        ],
      },
    }));
    await expect(consumer.settle(acks)).rejects.toMatchObject({ code: 'ERR_MACHINERY_BROKER_UNAVAILABLE' });
    await consumer.settle([]);
    const deleted = proxy.requests
      .filter(({ action }) => action === 'DeleteMessageBatch')
      .map(({ input }) => input.Entries?.length);
    expect(deleted).toEqual([3, 2]);
    expect((await counts(raw(sqs), url)).inHand).toBe(1); // what the test said was deleted
  });

  /** A message that was received so often that it goes back as a copy. */
  const worn = async (queue: string, url: string, broker: SqsBroker, body = message(queue, '1').body) => {
    const client = raw(sqs);
    await client.send(new SendMessageCommand({ QueueUrl: url, MessageBody: body }));
    for (let times = 0; times < 4; times++)
      await client.send(new ReceiveMessageCommand({ QueueUrl: url, VisibilityTimeout: 0 }));
    const consumer = await consume(broker, queue);
    const [delivery] = (await take(consumer, 1, { acks: false })) as [Delivery];
    expect(delivery.deliveryCount).toBe(5);
    return { consumer, delivery };
  };

  it('makes one copy of what goes back, however often it must be deleted', async () => {
    const { queue, proxy, broker, url } = await scene();
    const { consumer, delivery } = await worn(queue, url, broker);
    failing(proxy, 'DeleteMessageBatch', () => refusal(503, 'ServiceUnavailable'), 2);
    await expect(consumer.settle([{ kind: 'requeue', position: 'back', delivery }])).rejects.toThrow();
    await expect(consumer.settle([])).rejects.toThrow();
    await consumer.settle([]);
    expect(await counts(raw(sqs), url)).toEqual({ visible: 1, inHand: 0, delayed: 0 });
    expect(await take(consumer, 1)).toMatchObject([{ redelivered: true, deliveryCount: 1 }]);
  });

  it('gives back what cannot be copied', async () => {
    const { queue, proxy, url } = await scene();
    const broker = open(sqs, { endpoint: proxy.url, maxMessageBytes: 1_024 });
    const { consumer, delivery } = await worn(queue, url, broker, 'x'.repeat(1_020));
    await consumer.settle([{ kind: 'requeue', position: 'back', delivery }]);
    expect(await take(consumer, 1)).toMatchObject([{ deliveryCount: 6 }]);
  });

  it('lets go of a message that is no longer its own', async () => {
    const { queue, proxy, broker } = await scene();
    await broker.publish([message(queue, '1')]);
    const consumer = await consume(broker, queue);
    const [delivery] = (await take(consumer, 1, { acks: false })) as [Delivery];
    failing(proxy, 'ChangeMessageVisibilityBatch', () => ({
      status: 200,
      body: { Successful: [], Failed: [{ Id: '0', SenderFault: true, Code: 'ReceiptHandleIsInvalid' }] },
    }));
    await consumer.settle([{ kind: 'requeue', position: 'front', delivery }]);
    expect(consumer.owns?.(delivery)).toBe(false);
  });

  it('hands out what it received although deleting fails meanwhile, and says so with the next exchange', async () => {
    const { queue, proxy, broker } = await scene();
    await broker.publish([message(queue, '1')]);
    const consumer = await consume(broker, queue);
    const [first] = (await take(consumer, 1, { acks: false })) as [Delivery];
    failing(proxy, 'DeleteMessageBatch', () => refusal(403, 'AccessDenied'), 2);
    await broker.publish([message(queue, '2')]);
    const second = await consumer.exchange([{ kind: 'ack', delivery: first }], 1, new AbortController().signal);
    expect(second.map(uuidOf)).toEqual(['2']);
    await vi.waitFor(() => expect(proxy.count('DeleteMessageBatch')).toBe(1));
    await sleep(200); // the request is counted when it comes, and its refusal is not here yet
    await expect(consumer.exchange([], 1, AbortSignal.timeout(2_000))).rejects.toMatchObject({
      code: 'ERR_MACHINERY_BROKER_FAILED',
    });
    await consumer.settle([]);
    expect(proxy.count('DeleteMessageBatch')).toBe(3);
  });
});

describe('receiving', { timeout: 30_000 }, () => {
  it.each([
    ['throttling', refusal(400, 'ThrottlingException')],
    ['an error inside of the service', refusal(500, 'InternalFailure')],
    ['expired credentials', refusal(403, 'ExpiredTokenException')],
    ['a queue that is gone', refusal(400, 'QueueDoesNotExist')],
  ])('goes on after %s, and says so once', async (_, answer) => {
    const { queue, proxy, broker } = await scene();
    const warn = vi.fn();
    const server = new Server({
      broker,
      backend: new MemoryBackend(),
      defaultQueue: queue,
      logger: { ...silentLogger, warn },
    });
    onTestFinished(() => void server.close());
    const add = defineTask('add', { args: [int64, int64], returns: int64 });
    server.handle(add, (_context, a, b) => a + b);
    failing(proxy, 'ReceiveMessage', () => answer, 3);
    await server.newWorker('worker').start();
    expect(await (await server.send(add(1, 2))).get({ timeoutMs: 10_000 })).toBe(3);
    expect(proxy.count('ReceiveMessage')).toBeGreaterThanOrEqual(4);
    expect(warn.mock.calls.map(([text]) => text)).toEqual([
      expect.stringContaining('Broker @machinery/broker-sqs failed'),
    ]);
  });

  it('gets what a lost answer took when its visibility timeout is over', async () => {
    const queue = newName();
    await sqs.createQueue(queue);
    const proxy = await httpProxy(sqs);
    const broker = open(sqs, { endpoint: proxy.url, visibilityTimeoutSeconds: 1 });
    await broker.publish([message(queue, '1')]);
    failing(proxy, 'ReceiveMessage', () => 'cut');
    const consumer = await consume(broker, queue);
    await expect(consumer.exchange([], 1, AbortSignal.timeout(2_000))).rejects.toMatchObject({
      code: 'ERR_MACHINERY_BROKER_UNAVAILABLE',
    });
    expect(await take(consumer, 1)).toMatchObject([{ redelivered: true, deliveryCount: 2 }]);
  });
});

describe('an SQS that is killed', { timeout: 30_000 }, () => {
  it('has lost all it had, and is worked for again as soon as it is back with its queue', async () => {
    const queue = newName();
    await sqs.createQueue(queue);
    const server = new Server({
      broker: open(sqs),
      backend: new MemoryBackend(),
      defaultQueue: queue,
      logger: silentLogger,
    });
    onTestFinished(() => void server.close());
    const echo = defineTask('echo', { args: [int64], returns: int64 });
    server.handle(echo, (_, n) => n);
    await server.newWorker('worker').start();
    expect(await (await server.send(echo(1))).get({ timeoutMs: 10_000 })).toBe(1);
    await sqs.kill();
    await expect(server.send(echo(2))).rejects.toMatchObject({ name: 'MachineryError' });
    await sqs.start();
    await sleep(300); // the worker finds no queue
    await sqs.createQueue(queue);
    expect(await (await server.send(echo(3))).get({ timeoutMs: 15_000 })).toBe(3);
  });

  it('is not there for a while: a queue that was deleted is worked on again when somebody has made it', async () => {
    const queue = newName();
    const url = await sqs.createQueue(queue);
    const consumer = await consume(open(sqs), queue);
    await raw(sqs).send(new DeleteQueueCommand({ QueueUrl: url }));
    await expect(consumer.exchange([], 1, AbortSignal.timeout(5_000))).rejects.toMatchObject({
      message: expect.stringContaining(`queue ${queue}`),
    });
    await sqs.createQueue(queue);
    await open(sqs).publish([message(queue, '1')]);
    expect((await take(consumer, 1)).map(uuidOf)).toEqual(['1']);
  });
});
