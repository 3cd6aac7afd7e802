// What `send` rejects with when the broker or the backend does not take what it is given.

import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { defineTask, failed, int64, MachineryError, rest, Server, string } from '../../src/index.ts';
import { MemoryBackend, MemoryBroker } from '../../src/memory/index.ts';
import { backendAway } from '../worker/faulty-backend.ts';
import { brokerAway, refusedForGood } from '../worker/faulty-broker.ts';
import { errorLike, expectNothingSent, gate, nextTurn, testServer, thrownBy } from './setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const say = defineTask('say', { args: [string] });

describe('the broker', () => {
  it('that refuses a message rejects the send with its error', async () => {
    const test = testServer();
    const refusal = refusedForGood();
    test.broker.failPublishes(1, failed(refusal, false));
    expect(await thrownBy(() => test.server.send(add(1)))).toBe(refusal);
    expect(await (await test.server.send(add(1))).state()).toMatchObject({ state: 'PENDING' });
  });

  it('that is away rejects the send with its error: nothing is tried again behind the sender', async () => {
    const test = testServer();
    const away = brokerAway();
    test.broker.failPublishes(1, failed(away, true));
    expect(await thrownBy(() => test.server.send(add(1)))).toBe(away);
    await nextTurn();
    expect(test.broker.calls.publish).toBe(1);
  });

  it('that may have stored a message rejects the send with PUBLISH_UNKNOWN', async () => {
    const test = testServer();
    const cause = new Error('connection lost');
    test.broker.failPublishes(1, { status: 'unknown', error: cause });
    const error = await thrownBy(() => test.server.send(add(1), { uuid: 'task_1' }));
    const text = 'Task add (task_1) may or may not have been published: connection lost';
    expect(error).toEqual(errorLike('ERR_MACHINERY_PUBLISH_UNKNOWN', text));
    expect((error as Error).cause).toBe(cause);
  });

  it('that rejects the whole call may have published: every send of the batch says so', async () => {
    const test = testServer();
    const broken = new Error('out of sockets');
    test.broker.onPublish = () => Promise.reject(broken);
    const sends = await Promise.allSettled([test.server.send(add(1)), test.server.send(add(2))]);
    const reason = expect.objectContaining({ code: 'ERR_MACHINERY_PUBLISH_UNKNOWN', cause: broken });
    expect(sends).toEqual([
      { status: 'rejected', reason },
      { status: 'rejected', reason },
    ]);
    expect(test.broker.calls.publish).toBe(1);
  });

  it('that throws before it answers a promise rejects the send', async () => {
    const test = testServer();
    test.broker.onPublish = () => {
      throw new Error('not even a promise');
    };
    await expect(test.server.send(add(1))).rejects.toThrow('not even a promise');
  });

  it('that answers the wrong number of outcomes may have published, and is named', async () => {
    const test = testServer();
    test.broker.onPublish = async () => [];
    const text = 'The broker answered 0 results for a batch of 1';
    expect(await thrownBy(() => test.server.send(add(1)))).toMatchObject({
      code: 'ERR_MACHINERY_PUBLISH_UNKNOWN',
      cause: errorLike('ERR_MACHINERY_BROKER_FAILED', text),
    });
  });

  it('that refuses one message of a batch leaves the others alone', async () => {
    const test = testServer({ maxQueueLength: 2 });
    const sends = await Promise.allSettled([1, 2, 3].map((n) => test.server.send(add(n))));
    expect(sends.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    expect(sends[2]).toMatchObject({ reason: { code: 'ERR_MACHINERY_BROKER_UNAVAILABLE' } });
  });
});

describe('the backend', () => {
  it.each<[string, Parameters<typeof failed>[0], boolean]>([
    ['refuses', new MachineryError('ERR_MACHINERY_BACKEND_FAILED', 'no rights'), false],
    ['is away for', backendAway(), true],
  ])('that %s PENDING rejects the send, and nothing is published', async (_, error, retryable) => {
    const test = testServer();
    test.backend.failWrites(1, () => true, failed(error, retryable));
    expect(await thrownBy(() => test.server.send(add(1)))).toBe(error);
    expectNothingSent(test);
  });

  it('that may have stored PENDING rejects the send: nothing is published', async () => {
    const test = testServer();
    const error = new Error('connection lost');
    test.backend.failWrites(1, () => true, { status: 'unknown', error });
    expect(await thrownBy(() => test.server.send(add(1)))).toBe(error);
    expectNothingSent(test);
  });

  it('that rejects the whole call rejects every send, and nothing is published', async () => {
    const test = testServer();
    test.backend.failWrites(1);
    const sends = await Promise.allSettled([test.server.send(add(1)), test.server.send(add(2))]);
    const reason = expect.objectContaining({ code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' });
    expect(sends).toEqual([
      { status: 'rejected', reason },
      { status: 'rejected', reason },
    ]);
    expectNothingSent(test);
  });

  it('that answers the wrong number of outcomes is to blame, and nothing is published', async () => {
    const test = testServer();
    test.backend.onWrite = async () => [];
    expect(await thrownBy(() => test.server.send(add(1)))).toEqual(
      errorLike('ERR_MACHINERY_BACKEND_FAILED', /answered 0 results for a batch of 1/),
    );
    expectNothingSent(test);
  });

  it('that cannot hold the PENDING state rejects the send', async () => {
    const test = testServer({ maxStateBytes: 10 });
    expect(await thrownBy(() => test.server.send(add(1)))).toMatchObject({ code: 'ERR_MACHINERY_STATE_TOO_LARGE' });
    expectNothingSent(test);
  });
});

describe('limits of the broker', () => {
  it('refuse a message that is too large before anything is stored', async () => {
    const test = testServer({ maxMessageBytes: 1_000 });
    await test.server.send(say('x'.repeat(700)));
    test.broker.published.items.length = 0;
    test.backend.written.items.length = 0;
    test.broker.calls.publish = 0;
    const error = await thrownBy(() => test.server.send(say('ü'.repeat(450)), { uuid: 'task_1' }));
    expect(error).toEqual(
      errorLike(
        'ERR_MACHINERY_MESSAGE_TOO_LARGE',
        /^Task say \(task_1\) is a message of 10\d\d bytes, FaultyBroker takes 1000$/,
      ),
    );
    expectNothingSent(test);
  });

  it('take a message of just the size', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: 1_700_000_000_123 }); // the time of sending is in the message
    onTestFinished(() => void vi.useRealTimers());
    const probe = testServer();
    await probe.server.send(say('ü'.repeat(400)), { uuid: 'task_1' });
    const bytes = Buffer.byteLength((await probe.broker.memory.pendingMessages('q', 1))[0] as string);
    await testServer({ maxMessageBytes: bytes }).server.send(say('ü'.repeat(400)), { uuid: 'task_1' });
    const tight = testServer({ maxMessageBytes: bytes - 1 });
    expect(await thrownBy(() => tight.server.send(say('ü'.repeat(400)), { uuid: 'task_1' }))).toMatchObject({
      code: 'ERR_MACHINERY_MESSAGE_TOO_LARGE',
    });
    expectNothingSent(tight);
  });

  it('refuse a delay that is too long before anything is stored', async () => {
    const test = testServer({ maxDelayMs: 60_000 });
    const error = await thrownBy(() =>
      test.server.send(add(1), { eta: '2126-11-21T08:00:00.123456789Z', uuid: 'task_1' }),
    );
    const text =
      'Task add (task_1) has the ETA 2126-11-21T08:00:00.123456789Z: FaultyBroker delays by 60000 ms at most';
    expect(error).toEqual(errorLike('ERR_MACHINERY_NOT_SUPPORTED', text));
    await thrownBy(() => test.server.send(add(1), { delayMs: 61_000 }));
    expectNothingSent(test);
    await test.server.send(add(1), { delayMs: 59_000 });
    expect(await test.server.delayedTasks()).toHaveLength(1);
  });

  it('take exactly the longest delay', async () => {
    const test = testServer({ maxDelayMs: 60_000 });
    await test.server.send(add(1), { delayMs: 60_000 });
    expect(await test.server.delayedTasks()).toHaveLength(1);
  });
});

describe('a signal', () => {
  it('that has fired before rejects the send, and nothing is sent', async () => {
    const test = testServer();
    const reason = new Error('changed my mind');
    const error = await thrownBy(() => test.server.send(add(1), { signal: AbortSignal.abort(reason) }));
    expect(error).toEqual(errorLike('ERR_MACHINERY_ABORTED', 'Sending task add was aborted'));
    expect((error as Error).cause).toBe(reason);
    expectNothingSent(test);
  });

  it('that fires while PENDING is written stops the publish', async () => {
    const test = testServer();
    const [writing, finish] = [gate(), gate()];
    test.backend.onWrite = async (_, next) => {
      writing.open();
      await finish.opened;
      return next();
    };
    const controller = new AbortController();
    const sending = thrownBy(() => test.server.send(add(1), { signal: controller.signal }));
    await writing.opened;
    controller.abort();
    finish.open();
    expect(await sending).toMatchObject({ code: 'ERR_MACHINERY_ABORTED' });
    expect(test.broker.calls.publish).toBe(0);
  });
});

describe('a closed server', () => {
  it('refuses to send and to make workers', async () => {
    const test = testServer();
    await test.server.close();
    const closed = errorLike('ERR_MACHINERY_CLOSED', 'The server is closed');
    expect(await thrownBy(() => test.server.send(add(1)))).toEqual(closed);
    expect(await thrownBy(() => test.server.newWorker('w'))).toEqual(closed);
    expectNothingSent(test);
  });

  it('has published what was being sent', async () => {
    const test = testServer();
    const sends = Promise.all([1, 2, 3].map((n) => test.server.send(add(n))));
    const closing = test.server.close();
    await sends;
    await closing;
    expect(test.broker.published.items).toHaveLength(3);
  });

  it('closes broker and backend once, however often it is closed', async () => {
    const test = testServer();
    let closed = 0;
    test.broker.close = async () => void closed++;
    await Promise.all([test.server.close(), test.server.close()]);
    await test.server[Symbol.asyncDispose]();
    expect(closed).toBe(1);
  });

  it('closes the other adapters and rejects when one cannot be closed', async () => {
    let backendClosed = false;
    const broker = Object.assign(new MemoryBroker(), { close: () => Promise.reject(new Error('broken pipe')) });
    const backend = Object.assign(new MemoryBackend(), {
      close: async () => {
        backendClosed = true;
      },
    });
    await expect(new Server({ broker, backend }).close()).rejects.toThrow('broken pipe');
    expect(backendClosed).toBe(true);
  });
});
