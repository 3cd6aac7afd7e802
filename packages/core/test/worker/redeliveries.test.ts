// A message that comes back after its worker died: what is stored decides whether the task runs again.

import { beforeEach, describe, expect, it } from 'vitest';
import { failed } from '../../src/outcome.ts';
import type { Signature } from '../../src/signature.ts';
import type { TaskState } from '../../src/task-state.ts';
import { newSendUuid, newUuid } from '../../src/uuid.ts';
import { encodeSignature } from '../../src/wire/signature-codec.ts';
import { refusedForGood } from './faulty-broker.ts';
import { nextTurn } from './journal.ts';
import { goMessage, goSentAt, laterSentAt, ourMessage, sentAt } from './messages.ts';
import { type TestServer, testServer } from './test-server.ts';

let test: TestServer;
let runs: number[];
beforeEach(() => {
  test = testServer();
  runs = [];
  test.server.registerTask('work', () => {
    runs.push(runs.length + 1);
    return 'ran';
  });
});

const signature: Signature = {
  uuid: 'task_w',
  name: 'work',
  retryCount: 3,
  onSuccess: [{ uuid: 'task_next', name: 'next' }],
  onError: [{ uuid: 'task_sorry', name: 'sorry' }],
};
const retryEta = '2099-01-01T00:00:05Z';

/** Redelivers a message of `attempt` that finds `stored`, and answers what the worker did with it. */
async function redeliver(stored: Partial<TaskState> | undefined, attempt = 1, body = ourMessage(signature, attempt)) {
  if (stored !== undefined)
    await test.backend.put({ taskUuid: 'task_w', taskName: 'work', state: 'PENDING', createdAt: sentAt, ...stored });
  await test.broker.putRedelivered(body);
  const worker = await test.startWorker();
  const { kind } = await test.broker.settled.first(({ delivery }) => delivery.body === body);
  await worker.quit();
  return { kind, ran: runs.length, sent: test.broker.published.items.map(({ uuid }) => uuid) };
}

const success = { state: 'SUCCESS', results: [{ type: 'string', value: 'before' }] } as const;
const failure = { state: 'FAILURE', error: 'it broke' } as const;
const retry = { state: 'RETRY', error: 'it broke', retryEta, retryCount: 2 } as const;

describe('a redelivery of the same send', () => {
  it.each<[string, Partial<TaskState> | undefined, number]>([
    ['nothing', undefined, 1],
    ['PENDING', {}, 1],
    ['RECEIVED', { state: 'RECEIVED' }, 1],
    ['STARTED', { state: 'STARTED' }, 1],
    ['STARTED of an earlier attempt', { state: 'STARTED' }, 2],
    ['RETRY of an earlier attempt', retry, 2],
    ['RETRY of an earlier attempt than the third', { ...retry, attempt: 2 }, 3],
    ['RETRY without an ETA, as Go writes it', { state: 'RETRY' }, 1],
  ])('runs again when it finds %s', async (_, stored, attempt) => {
    expect(await redeliver(stored, attempt)).toEqual({ kind: 'ack', ran: 1, sent: ['task_next'] });
    expect(await test.backend.state('task_w')).toMatchObject({
      state: 'SUCCESS',
      results: [{ type: 'string', value: 'ran' }],
      createdAt: sentAt,
    });
  });

  it.each<[string, Partial<TaskState>, number]>([
    ['STARTED of a later attempt', { state: 'STARTED', attempt: 2 }, 1],
    ['RETRY of a later attempt', { ...retry, attempt: 3 }, 2],
  ])('is only acked when it finds %s', async (_, stored, attempt) => {
    expect(await redeliver(stored, attempt)).toEqual({ kind: 'ack', ran: 0, sent: [] });
    expect(test.backend.written.items).toEqual([]);
  });

  it('is not run again after SUCCESS: its callback is sent with the stored results', async () => {
    expect(await redeliver(success)).toEqual({ kind: 'ack', ran: 0, sent: ['task_next'] });
    expect(test.broker.published.items[0]?.args).toEqual([{ type: 'string', value: 'before' }]);
    expect(test.backend.statesOf('task_w')).toEqual([]);
    expect(test.backend.statesOf('task_next')).toEqual(['PENDING']);
  });

  it('is not run again after FAILURE: its error callback is sent with the stored error', async () => {
    expect(await redeliver(failure)).toEqual({ kind: 'ack', ran: 0, sent: ['task_sorry'] });
    expect(test.broker.published.items[0]?.args).toEqual([{ type: 'string', value: 'it broke' }]);
    expect(test.backend.statesOf('task_w')).toEqual([]);
  });

  it.each([1, 3])(
    'publishes the same next attempt once more when it finds RETRY of its own attempt (%i)',
    async (n) => {
      expect(await redeliver({ ...retry, attempt: n }, n)).toEqual({ kind: 'ack', ran: 0, sent: ['task_w'] });
      expect(test.broker.published.items[0]).toEqual({
        ...signature,
        routingKey: 'q',
        eta: retryEta,
        retryCount: 2,
        retryTimeout: 1,
        headers: { 'machinery-sent-at': sentAt, 'machinery-attempt': String(n + 1) },
      });
      expect(test.backend.statesOf('task_w')).toEqual([]);
    },
  );

  it('publishes the next attempt with all its retries when the task had thrown RetryLater', async () => {
    await redeliver({ ...retry, retryCount: 3 });
    const [next] = test.broker.published.items;
    expect(next).toMatchObject({ retryCount: 3, headers: { 'machinery-attempt': '2' } });
    expect(next?.retryTimeout).toBeUndefined();
  });

  it('compares times of sending by the millisecond, as some backends keep no more', async () => {
    const body = ourMessage(signature, 1, goSentAt);
    expect(await redeliver({ ...success, createdAt: sentAt }, 1, body)).toMatchObject({ ran: 0 });
  });
});

describe('a message whose UUID holds when it was sent, without a header,', () => {
  const now = Date.now();
  const uuid = newSendUuid('task', now);
  const createdAt = new Date(now).toISOString();
  const body = encodeSignature({ ...signature, uuid, routingKey: 'q' });

  it('is not run again when it was done', async () => {
    expect(body).not.toContain('Headers');
    expect(await redeliver({ ...success, taskUuid: uuid, createdAt }, 1, body)).toMatchObject({ kind: 'ack', ran: 0 });
    expect(test.broker.published.items.map((sent) => sent.uuid)).toEqual(['task_next']);
  });

  it('runs again when what was done is another send', async () => {
    const later = new Date(now + 1).toISOString();
    expect(await redeliver({ ...success, taskUuid: uuid, createdAt: later }, 1, body)).toMatchObject({ ran: 1 });
  });

  it('keeps the UUID, and so the time, in its next attempt', async () => {
    await redeliver({ ...retry, taskUuid: uuid, createdAt }, 1, body);
    const [next] = test.broker.published.items;
    expect(next).toMatchObject({ uuid, eta: retryEta });
    expect(next?.headers).toEqual({ 'machinery-attempt': '2' });
  });

  it('needs no look at its state the first time; one of version 4, as Go sends it, does', async () => {
    const reads: string[] = [];
    const { read } = test.backend;
    test.backend.read = (uuids) => {
      reads.push(...uuids);
      return read.call(test.backend, uuids);
    };
    const theirs = newUuid('task');
    await test.backend.put({ taskUuid: theirs, taskName: 'work', state: 'PENDING', createdAt: goSentAt });
    await test.broker.put(encodeSignature({ uuid, name: 'work', routingKey: 'q' }));
    await test.broker.put(goMessage({ uuid: theirs, name: 'work' }));
    const worker = await test.startWorker();
    await test.broker.settled.until((items) => items.length === 2);
    await worker.quit();
    expect(reads).toEqual([theirs]);
    expect(Date.parse((await test.backend.state(uuid))?.createdAt as string)).toBe(now);
    expect((await test.backend.state(theirs))?.createdAt).toBe(goSentAt);
  });
});

describe('a redelivery without proof that it is the same send runs again', () => {
  it.each<[string, Partial<TaskState>]>([
    ['SUCCESS', success],
    ['FAILURE', failure],
    ['RETRY', retry],
    ['STARTED of a later attempt', { state: 'STARTED', attempt: 2 }],
  ])('of another send that finds %s', async (_, stored) => {
    expect(await redeliver({ ...stored, createdAt: laterSentAt })).toEqual({
      kind: 'ack',
      ran: 1,
      sent: ['task_next'],
    });
    expect(await test.backend.state('task_w')).toMatchObject({ state: 'SUCCESS', createdAt: sentAt });
  });

  it.each<[string, Partial<TaskState>]>([
    ['SUCCESS', success],
    ['FAILURE', failure],
    ['RETRY', retry],
  ])('without our header, as Go sends it, that finds %s', async (_, stored) => {
    const body = goMessage(signature);
    expect(await redeliver({ ...stored, createdAt: goSentAt }, 1, body)).toEqual({
      kind: 'ack',
      ran: 1,
      sent: ['task_next'],
    });
    expect(await test.backend.state('task_w')).toMatchObject({ state: 'SUCCESS', createdAt: goSentAt });
  });

  it('when the state does not say when it was sent', async () => {
    await test.backend.put({ taskUuid: 'task_w', taskName: '', ...success });
    await test.broker.putRedelivered(ourMessage(signature));
    await test.startWorker();
    await test.backend.final('task_w');
    expect(runs).toHaveLength(1);
  });

  it('with a header that is no time', async () => {
    const body = ourMessage(signature, 1, 'yesterday');
    expect(await redeliver(success, 1, body)).toMatchObject({ kind: 'ack', ran: 1 });
  });
});

describe('follow-ups of a redelivery', () => {
  const two = {
    ...signature,
    onSuccess: [{ uuid: 'a', name: 'next' }, { uuid: 'b', name: 'next' }, { name: 'next' }],
  };

  it('are sent where their state is missing, not where they are further than PENDING', async () => {
    await test.backend.put({ taskUuid: 'a', taskName: 'next', state: 'STARTED' });
    const { sent } = await redeliver(success, 1, ourMessage(two));
    expect(sent).toHaveLength(2);
    expect(sent[0]).toBe('b');
    expect(sent[1]).toMatch(/^task_[0-9a-f]{8}-/);
  });

  it('are published again where they are PENDING, with that time of sending, and PENDING is not written again', async () => {
    await test.backend.put({ taskUuid: 'a', taskName: 'next', state: 'PENDING', createdAt: laterSentAt });
    await test.backend.put({ taskUuid: 'b', taskName: 'next', state: 'SUCCESS' });
    const { sent } = await redeliver(success, 1, ourMessage(two));
    expect(sent).toHaveLength(2);
    expect(sent[0]).toBe('a');
    expect(test.backend.statesOf('a')).toEqual([]);
    expect(test.broker.published.items[0]?.headers).toMatchObject({ 'machinery-sent-at': laterSentAt });
  });

  it('get the same UUID however often they are sent', async () => {
    const { sent } = await redeliver(success, 1, ourMessage(two));
    await test.backend.memory.purge({ tasks: sent as string[] });
    test.broker.settled.items.length = 0;
    const again = await redeliver(success, 1, ourMessage({ ...two, args: [] }));
    expect(again.sent).toEqual([...sent, ...sent]);
  });
});

describe('a redelivery that finds RETRY, whose next attempt can never be published,', () => {
  it('is a FAILURE and tells its error callback', async () => {
    const { published } = test.broker;
    test.broker.onPublish = async (messages, next) =>
      messages.some(({ signature }) => signature.uuid === 'task_w')
        ? messages.map(() => failed(refusedForGood(), false))
        : next();
    await redeliver(retry);
    expect(await test.backend.state('task_w')).toMatchObject({ state: 'FAILURE' });
    expect(published.items.map(({ uuid }) => uuid)).toEqual(['task_sorry']);
  });
});

describe('a task that was delivered too often', () => {
  const deliver = async (times: number, options?: { maxDeliveries: number }, body = ourMessage(signature)) => {
    await test.broker.putRedelivered(body, times);
    await test.startWorker(options);
    return test.backend.final('task_w');
  };

  it('is a FAILURE after maxDeliveries, and tells its error callback', async () => {
    expect(await deliver(10)).toMatchObject({ state: 'FAILURE', createdAt: sentAt });
    expect(runs).toEqual([]);
    const sorry = await test.broker.published.first(({ uuid }) => uuid === 'task_sorry');
    expect(sorry.args?.[0]?.value).toContain('11 times');
  });

  it('runs at the last delivery that is allowed', async () => {
    expect(await deliver(9)).toMatchObject({ state: 'SUCCESS' });
  });

  it('runs once with maxDeliveries: 1, and fails when it comes back', async () => {
    expect(await deliver(1, { maxDeliveries: 1 })).toMatchObject({ state: 'FAILURE' });
    expect(runs).toEqual([]);
  });

  it('keeps the time of sending that is stored when it is a message of Go', async () => {
    await test.backend.put({ taskUuid: 'task_w', taskName: 'work', state: 'PENDING', createdAt: goSentAt });
    await deliver(10, undefined, goMessage(signature));
    expect(await test.backend.state('task_w')).toMatchObject({ state: 'FAILURE', createdAt: goSentAt });
  });

  it('is not failed when it was done before', async () => {
    await test.backend.put({ taskUuid: 'task_w', taskName: 'work', createdAt: sentAt, ...success });
    await test.broker.putRedelivered(ourMessage(signature), 20);
    await test.startWorker();
    await test.broker.settled.first(({ kind }) => kind === 'ack');
    expect(await test.backend.state('task_w')).toMatchObject({ state: 'SUCCESS' });
  });
});

describe('a signature sent again under the same UUID', () => {
  it('starts over: it runs, and its state is of the new send', async () => {
    await test.startWorker();
    await (await test.server.send({ name: 'work', uuid: 'same' })).get();
    const first = await test.backend.state('same');
    while (Date.now() <= Date.parse(first?.createdAt ?? '')) await nextTurn(); // the time of sending has milliseconds
    await (await test.server.send({ name: 'work', uuid: 'same' })).get();
    expect(runs).toEqual([1, 2]);
    expect(test.backend.statesOf('same')).toEqual(['PENDING', 'SUCCESS', 'PENDING', 'SUCCESS']);
    expect((await test.backend.state('same'))?.createdAt).not.toBe(first?.createdAt);
  });
});

describe('a task that fails and asks for its message to stay', () => {
  const asks: Signature = { uuid: 'task_w', name: 'fail', stopTaskDeletionOnError: true };
  const settled = async (body: string) => {
    const { delivery: _, ...verdict } = await test.broker.settled.first(({ delivery }) => delivery.body === body);
    return verdict;
  };

  it('leaves it, and an attempt that is followed by another does not', async () => {
    test.server.registerTask('fail', () => {
      throw new Error('it broke');
    });
    await test.startWorker();
    await test.server.send(asks);
    await test.server.send({ ...asks, uuid: 'task_r', retryCount: 1 });
    const [first, retried] = await Promise.all(
      ['task_w', 'task_r'].map((uuid) => test.broker.settled.first(({ delivery }) => delivery.body.includes(uuid))),
    );
    expect(first).toMatchObject({ kind: 'ack', leave: true });
    expect(retried).toMatchObject({ kind: 'ack' });
    expect(retried).not.toHaveProperty('leave');
  });

  it('leaves it again when it comes again, without a run', async () => {
    const body = ourMessage({ ...asks, name: 'work' }, 1);
    await test.backend.put({ taskUuid: 'task_w', taskName: 'work', createdAt: sentAt, ...failure });
    await test.broker.putRedelivered(body);
    await test.startWorker();
    expect(await settled(body)).toEqual({ kind: 'ack', leave: true });
    expect(runs).toEqual([]);
  });
});
