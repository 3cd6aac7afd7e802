// What is sent when a task has ended: success and error callbacks.

import { beforeEach, describe, expect, it } from 'vitest';
import { failed } from '../../src/outcome.ts';
import type { Signature } from '../../src/signature.ts';
import { newUuid, sentAtMsOf } from '../../src/uuid.ts';
import { refusedForGood } from './faulty-broker.ts';
import { gate } from './journal.ts';
import { goMessage, goSentAt, ourMessage } from './messages.ts';
import { type TestServer, testServer } from './test-server.ts';

let test: TestServer;
let called: unknown[][];
const int = (value: number) => ({ type: 'int64', value });
beforeEach(() => {
  test = testServer();
  called = [];
  test.server.registerTasks({
    one: () => 1,
    fails: () => Promise.reject(new Error('no')),
    note: (...args: unknown[]) => {
      called.push(args);
      return args.length;
    },
  });
});

const run = async (signature: Signature) => {
  await test.startWorker();
  return test.server.send({ uuid: 'parent', ...signature });
};

describe('success callbacks', () => {
  it('get the results after their own arguments, each of them', async () => {
    const onSuccess = [
      { uuid: 'a', name: 'note', args: [int(7)] },
      { uuid: 'b', name: 'note' },
    ];
    await run({ name: 'one', onSuccess });
    await Promise.all([test.backend.final('a'), test.backend.final('b')]);
    expect(called).toEqual([[7, 1], [1]]);
  });

  it('get nothing from a task that is immutable', async () => {
    await run({ name: 'one', immutable: true, onSuccess: [{ uuid: 'a', name: 'note', args: [int(7)] }] });
    await test.backend.final('a');
    expect(called).toEqual([[7]]);
  });

  it('get the results although they are immutable themselves', async () => {
    await run({ name: 'one', onSuccess: [{ uuid: 'a', name: 'note', immutable: true }] });
    await test.backend.final('a');
    expect(called).toEqual([[1]]);
  });

  it('nest: a chain hands each result on', async () => {
    const last = { uuid: 'c', name: 'note' };
    await run({ name: 'one', onSuccess: [{ uuid: 'b', name: 'note', args: [int(7)], onSuccess: [last] }] });
    await test.backend.final('c');
    expect(called).toEqual([[7, 1], [2]]);
  });

  it('are not sent after a failure, nor error callbacks after a success', async () => {
    const both = { onSuccess: [{ uuid: 's', name: 'note' }], onError: [{ uuid: 'e', name: 'note' }] };
    await run({ name: 'fails', ...both });
    await test.backend.final('e');
    await test.server.send({
      name: 'one',
      uuid: 'other',
      onSuccess: [{ uuid: 's2', name: 'note' }],
      onError: both.onError,
    });
    await test.backend.final('s2');
    expect(called).toEqual([['no'], [1]]);
  });

  it.each([
    ['no time at all', 'soon'],
    ['the end of time', '9999-12-31T23:59:59.999Z'],
  ])('are sent when the message says that it was sent at %s', async (_, sentAt) => {
    await test.startWorker();
    await test.broker.put(
      ourMessage({ name: 'one', uuid: 'parent', onSuccess: [{ uuid: 'a', name: 'note' }] }, 1, sentAt),
    );
    expect(await test.backend.final('a')).toMatchObject({ state: 'SUCCESS' });
    expect(await test.backend.state('parent')).toMatchObject({ state: 'SUCCESS' });
  });

  it('go to the queue that they name, with PENDING stored before', async () => {
    await run({ name: 'one', onSuccess: [{ uuid: 'a', name: 'note', routingKey: 'other' }] });
    await test.broker.published.first(({ uuid }) => uuid === 'a');
    expect(test.backend.statesOf('a')).toEqual(['PENDING']);
    expect(await test.server.pendingTasks('other')).toMatchObject([{ uuid: 'a', args: [int(1)] }]);
  });

  it('of a plain send have a UUID of version 4, and say later than it when they were sent', async () => {
    await test.startWorker();
    const { uuid } = await test.server.send({ name: 'one', onSuccess: [{ name: 'note' }] });
    const callback = await test.broker.published.first(({ name }) => name === 'note');
    expect(callback.uuid).toMatch(/^task_[0-9a-f]{8}-[0-9a-f]{4}-4/);
    const sentAt = callback.headers?.['machinery-sent-at'] as string;
    expect(Date.parse(sentAt)).toBeGreaterThan(sentAtMsOf(uuid) as number);
    expect(await test.backend.final(callback.uuid as string)).toMatchObject({ state: 'SUCCESS', createdAt: sentAt });
  });

  it('of a message of Go say later than its state when they were sent', async () => {
    const uuid = newUuid('task');
    await test.backend.put({ taskUuid: uuid, taskName: 'one', state: 'PENDING', createdAt: goSentAt });
    await test.startWorker();
    await test.broker.put(goMessage({ name: 'one', uuid, onSuccess: [{ uuid: 'a', name: 'note' }] }));
    const { createdAt } = await test.backend.final('a');
    expect(Date.parse(createdAt as string)).toBeGreaterThan(Date.parse(goSentAt));
    expect(test.broker.published.items[0]?.headers).toEqual({ 'machinery-sent-at': createdAt });
  });

  it("of a message without UUIDs get one that is derived from the parent's, the same each time", async () => {
    const body = goMessage({ name: 'one', uuid: 'parent', onSuccess: [{ name: 'note' }, { name: 'note' }] });
    await test.startWorker();
    await test.broker.put(body);
    await test.broker.put(body);
    await test.broker.published.until((items) => items.length === 4);
    const [a, b, c, d] = test.broker.published.items.map(({ uuid }) => uuid);
    expect(new Set([a, b]).size).toBe(2);
    expect([c, d]).toEqual([a, b]);
    expect(a).toMatch(/^task_[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
  });
});

describe('error callbacks', () => {
  it('get the text of the error before their own arguments', async () => {
    await run({ name: 'fails', immutable: true, onError: [{ uuid: 'e', name: 'note', args: [int(7)] }] });
    await test.backend.final('e');
    expect(called).toEqual([['no', 7]]);
  });

  it('nest', async () => {
    const onError = [{ uuid: 'e', name: 'fails', onError: [{ uuid: 'f', name: 'note' }] }];
    await run({ name: 'fails', onError });
    await test.backend.final('f');
    expect(called).toEqual([['no']]);
  });
});

describe('callbacks', () => {
  it.each(['one', 'fails'])('are published before the ack (%s)', async (name) => {
    const publish = gate();
    const asked = gate();
    await test.startWorker();
    await test.server.send({ name, onSuccess: [{ uuid: 'a', name: 'note' }], onError: [{ uuid: 'a', name: 'note' }] });
    test.broker.onPublish = async (_, next) => {
      asked.open();
      await publish.opened;
      return next();
    };
    await asked.opened;
    const settledBefore = test.broker.settled.items.length;
    publish.open();
    await test.broker.settled.first(({ kind }) => kind === 'ack');
    expect(settledBefore).toBe(0);
    expect(test.broker.published.items.map(({ uuid }) => uuid)).toContain('a');
  });

  it('that are too large to publish are a FAILURE, and their own error callbacks are told', async () => {
    test = testServer({ maxMessageBytes: 1_000 });
    test.server.registerTasks({ large: () => 'x'.repeat(900), note: (...args: unknown[]) => void called.push(args) });
    const onError = [{ uuid: 'e', name: 'note' }];
    const result = await run({ name: 'large', onSuccess: [{ uuid: 'a', name: 'note', onError }] });
    expect(await result.get()).toHaveLength(900);
    expect(await test.backend.final('a')).toMatchObject({
      state: 'FAILURE',
      taskName: 'note',
      error: expect.stringContaining('1000'),
    });
    await test.backend.final('e');
    expect(called).toEqual([[expect.stringContaining('1000')]]);
    await test.broker.settled.until((items) => items.length === 2);
  });

  it('that the broker refuses for good are a FAILURE; the others are sent', async () => {
    await test.startWorker();
    test.broker.onPublish = async (messages, next) => {
      const outcomes = await next();
      return outcomes.map((outcome, i) =>
        messages[i]?.signature.uuid === 'a' ? failed(refusedForGood(), false) : outcome,
      );
    };
    await test.broker.put(
      ourMessage({
        name: 'one',
        uuid: 'p',
        onSuccess: [
          { uuid: 'a', name: 'gone' },
          { uuid: 'b', name: 'note' },
        ],
      }),
    );
    expect(await test.backend.final('a')).toMatchObject({ state: 'FAILURE', error: 'Refused for good' });
    expect(await test.backend.final('b')).toMatchObject({ state: 'SUCCESS' });
  });
});
