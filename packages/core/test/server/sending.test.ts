// What `send` publishes and stores: options, routing, times, handlers that look at it, and the lists of what waits.

import { describe, expect, it } from 'vitest';
import { AsyncResult, defineTask, int64, rest, type Signature, string } from '../../src/index.ts';
import { MemoryBackend, MemoryBroker } from '../../src/memory/index.ts';
import { sentAtOf } from '../../src/sent-at.ts';
import { Server } from '../../src/server.ts';
import { TestClock } from '../../src/testing/test-clock.ts';
import { newSendUuid, newUuid } from '../../src/uuid.ts';
import { bodies, errorLike, expectNothingSent, onlyMessage, testServer, thrownBy } from './setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const report = defineTask('report', { args: [string] });
const sendUuidForm = /^task_[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const uuidForm = /^task_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const timeForm = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$/;

describe('a message', () => {
  it('is compact: nothing at its zero value, the routing key resolved', async () => {
    const test = testServer();
    const { uuid } = await test.server.send(add(1, 2));
    const message = await onlyMessage(test);
    expect(message).toEqual({
      UUID: uuid,
      Name: 'add',
      RoutingKey: 'q',
      Args: [
        { Type: 'int64', Value: 1 },
        { Type: 'int64', Value: 2 },
      ],
    });
    expect(uuid).toMatch(sendUuidForm);
    expect((await bodies(test))[0]?.length).toBeLessThan(150);
  });

  it('goes to machinery_tasks when no queue is named anywhere', async () => {
    await using server = new Server({ broker: new MemoryBroker(), backend: new MemoryBackend() });
    await server.send(add(1));
    expect(server.defaultQueue).toBe('machinery_tasks');
    expect(await server.pendingTasks('machinery_tasks')).toMatchObject([{ routingKey: 'machinery_tasks' }]);
  });

  it('has the routing key that the broker makes of an empty one', async () => {
    const broker = Object.assign(new MemoryBroker(), { defaultRoutingKey: (queue: string) => `${queue}.key` });
    await using server = new Server({ broker, backend: new MemoryBackend(), defaultQueue: 'q' });
    await server.send(add(1));
    await server.send({ name: 'add', routingKey: '' });
    await server.send(add(1), { queue: 'other' });
    expect(await server.pendingTasks('q.key')).toMatchObject([{ routingKey: 'q.key' }, { routingKey: 'q.key' }]);
    expect(await server.pendingTasks('other')).toHaveLength(1);
  });

  it('has every option of send', async () => {
    const test = testServer();
    const result = await test.server.send(add(1), {
      uuid: 'task_1',
      queue: 'slow',
      priority: 9,
      retries: 3,
      backoff: { delayMs: 50 },
      timeoutMs: 1_000,
      headers: { trace: 'abc' },
      immutable: true,
      onError: [report.partial()],
      brokerMessageGroupId: 'group',
      stopTaskDeletionOnError: true,
      ignoreWhenTaskNotRegistered: true,
      signal: new AbortController().signal,
    });
    expect(result.uuid).toBe('task_1');
    expect(await onlyMessage(test, 'slow')).toEqual({
      UUID: 'task_1',
      Name: 'add',
      RoutingKey: 'slow',
      Args: [{ Type: 'int64', Value: 1 }],
      Headers: {
        trace: 'abc',
        'machinery-timeout-ms': '1000',
        'machinery-backoff': '{"delayMs":50}',
        'machinery-sent-at': expect.stringMatching(timeForm),
      },
      Priority: 9,
      Immutable: true,
      RetryCount: 3,
      OnError: [{ UUID: expect.stringMatching(uuidForm), Name: 'report', Args: [] }],
      BrokerMessageGroupId: 'group',
      StopTaskDeletionOnError: true,
      IgnoreWhenTaskNotRegistered: true,
    });
  });

  it('gives its callbacks UUIDs, however deep, so that their results can be asked for', async () => {
    const test = testServer();
    const last = add.partial().with({ uuid: 'task_last' });
    await test.server.send(add(1), { onSuccess: [add.partial().with({ onSuccess: [last] })] });
    const [next] = (await onlyMessage(test)).OnSuccess as { UUID: string; OnSuccess: { UUID: string }[] }[];
    expect(next?.UUID).toMatch(uuidForm);
    expect(next?.OnSuccess).toMatchObject([{ UUID: 'task_last' }]);
  });

  it('says again when it was sent, and that it is a first attempt, when a received signature is sent', async () => {
    const test = testServer();
    const headers = { 'machinery-sent-at': '2000-01-01T00:00:00Z', 'machinery-attempt': '5', mine: 'stays' };
    const { uuid } = await test.server.send({ name: 'add', headers });
    expect((await onlyMessage(test)).Headers).toEqual({ mine: 'stays' });
    expect(await test.backend.state(uuid)).toMatchObject({ createdAt: sentAtOf({ uuid }) });
  });

  it('of a received signature with its UUID says again when it was sent', async () => {
    const test = testServer();
    const headers = { 'machinery-sent-at': '2000-01-01T00:00:00Z', mine: 'stays' };
    await test.server.send({ name: 'add', uuid: 'task_1', headers });
    const { Headers } = await onlyMessage(test);
    expect(Headers).toEqual({ 'machinery-sent-at': expect.stringMatching(timeForm), mine: 'stays' });
    expect(Headers['machinery-sent-at']).not.toBe('2000-01-01T00:00:00Z');
    expect(await test.backend.state('task_1')).toMatchObject({ createdAt: Headers['machinery-sent-at'] });
  });

  it('has no headers but those of the user, and its UUID holds the CreatedAt of its PENDING', async () => {
    const test = testServer();
    for (const headers of [undefined, {}, { 'machinery-sent-at': 'x' }, { mine: 'stays' }]) {
      const { uuid } = await test.server.send({ name: 'add', ...(headers !== undefined && { headers }) });
      expect(sentAtOf({ uuid })).toMatch(timeForm);
      expect((await test.backend.state(uuid))?.createdAt).toBe(sentAtOf({ uuid }));
    }
    const messages = (await bodies(test)).map((body) => JSON.parse(body));
    expect(messages.map((message) => message.Headers)).toEqual([undefined, undefined, undefined, { mine: 'stays' }]);
  });

  it.each([
    ['of version 4', newUuid('task')],
    ['that looks like one of a send', newSendUuid('task', Date.now() - 60_000)],
  ])('with a UUID that the user gives, %s, has the time in a header, which wins', async (_, uuid) => {
    const test = testServer();
    const before = Date.now();
    await test.server.send({ name: 'add', uuid });
    const { UUID, Headers } = await onlyMessage(test);
    expect([UUID, sentAtOf({ uuid, headers: Headers })]).toEqual([uuid, Headers['machinery-sent-at']]);
    expect(Date.parse(Headers['machinery-sent-at'] as string)).toBeGreaterThanOrEqual(before);
    expect((await test.backend.state(uuid))?.createdAt).toBe(Headers['machinery-sent-at']);
  });

  it.each(['2000-01-01T00:00:00Z', '2999-01-01T00:00:00Z'])(
    'has the time in a header where the clock says %s, which no UUID is believed',
    async (now) => {
      const test = testServer({ server: { clock: new TestClock(Date.parse(now)) } });
      const { uuid } = await test.server.send(add(1));
      expect((await onlyMessage(test)).Headers).toEqual({ 'machinery-sent-at': now });
      expect(uuid).toMatch(uuidForm);
      expect((await test.backend.state(uuid))?.createdAt).toBe(now);
    },
  );

  it('is published after its PENDING state is stored, which is kept until after its ETA', async () => {
    const test = testServer({ server: { resultsExpireInSeconds: 60 } });
    const order: string[] = [];
    test.broker.onPublish = (_, next) => {
      order.push('publish');
      return next();
    };
    test.backend.onWrite = ([write], next) => {
      order.push(`${write?.state.state} ${write?.state.taskName} ${write?.expiresInSeconds}`);
      return next();
    };
    await test.server.send(add(1));
    await test.server.send(add(1), { delayMs: 100_000 });
    expect(order).toEqual(['PENDING add 60', 'publish', 'PENDING add 160', 'publish']);
  });

  it('is not changed by sending: a signature can be sent again and gets a UUID of its own each time', async () => {
    const test = testServer();
    const signature = add(1);
    const before = structuredClone({ ...signature, definition: undefined });
    const [first, second] = [await test.server.send(signature), await test.server.send(signature)];
    expect(first.uuid).not.toBe(second.uuid);
    expect({ ...signature, definition: undefined }).toEqual(before);
  });

  it('keeps its place: what is sent in one tick is published in that order, in one batch', async () => {
    const test = testServer();
    await Promise.all(Array.from({ length: 50 }, (_, i) => test.server.send(add(i))));
    expect((await test.server.pendingTasks()).map(({ args }) => args?.[0]?.value)).toEqual([...Array(50).keys()]);
    expect(test.broker.calls.publish).toBe(1);
    expect(test.backend.calls.write).toBe(1);
  });
});

describe('plain signatures', () => {
  it('are sent as they are, with values checked by their types', async () => {
    const test = testServer();
    const result = await test.server.send({
      name: 'plain',
      args: [
        { type: 'int64', value: 2n ** 62n },
        { name: 'blob', type: '[]byte', value: Buffer.from('foo') },
        { type: '[]string', value: null },
      ],
    });
    expect(result).toBeInstanceOf(AsyncResult);
    expect((await bodies(test))[0]).toContain(
      '"Args":[{"Type":"int64","Value":4611686018427387904},{"Name":"blob","Type":"[]byte","Value":"Zm9v"},{"Type":"[]string","Value":[]}]',
    );
  });

  it('take the options of send, and keep their fields where there are none', async () => {
    const test = testServer();
    await test.server.sendTask({ name: 'plain', routingKey: 'x', retryCount: 1 }, { retries: 5, headers: { a: 'b' } });
    expect(await onlyMessage(test, 'x')).toMatchObject({ RetryCount: 5, Headers: { a: 'b' } });
  });
});

describe('times', () => {
  it('pass through with their nanoseconds', async () => {
    const test = testServer();
    const eta = '2126-11-21T08:00:00.123456789Z';
    await test.server.send(add(1), { eta });
    expect((await test.broker.delayedMessages(1))[0]).toContain(`"ETA":"${eta}"`);
    expect(await test.server.delayedTasks()).toMatchObject([{ name: 'add', eta }]);
  });

  it('are written in UTC', async () => {
    const test = testServer();
    await test.server.send(add(1), { eta: '2126-11-21T08:00:00.5+02:00' });
    await test.server.send(add(2), { eta: new Date(Date.UTC(2127, 0, 1)) });
    const etas = (await test.server.delayedTasks()).map(({ eta }) => eta);
    expect(etas).toEqual(['2126-11-21T06:00:00.5Z', '2127-01-01T00:00:00Z']);
  });

  it('count delayMs from the time of sending, not of making the signature', async () => {
    const test = testServer();
    const signature = add(1).with({ delayMs: 60_000.5 });
    const before = Date.now();
    await test.server.send(signature);
    const [delayed] = await test.server.delayedTasks();
    const waitMs = Date.parse(delayed?.eta as string) - before;
    expect(waitMs).toBeGreaterThanOrEqual(60_001);
    expect(waitMs).toBeLessThan(61_000);
  });

  it('that have passed mean at once', async () => {
    const test = testServer();
    await test.server.send(add(1), { eta: new Date(0) });
    await test.server.send(add(2), { delayMs: 0 });
    expect(await test.server.pendingTasks()).toHaveLength(2);
  });
});

describe('prePublishHandler', () => {
  it('sees the completed signature, and another one that it answers is sent under the same UUID', async () => {
    const seen: Signature[] = [];
    const prePublishHandler = (signature: Signature): Signature => {
      seen.push(signature);
      return { name: 'other', uuid: 'task_ignored', args: [{ type: 'string', value: 'x' }], priority: 1 };
    };
    const test = testServer({ server: { prePublishHandler } });
    const { uuid } = await test.server.send(add(1), { queue: 'slow' });
    expect(seen).toMatchObject([{ uuid, name: 'add', routingKey: 'slow' }]);
    const message = await onlyMessage(test, 'slow');
    expect(message).toMatchObject({ UUID: uuid, Name: 'other', Args: [{ Type: 'string', Value: 'x' }], Priority: 1 });
    expect(message.Headers).toBeUndefined();
    expect((await test.backend.state(uuid))?.createdAt).toBe(sentAtOf({ uuid }));
  });

  it.each([
    ['plain', {}, undefined],
    ['with a UUID', { uuid: 'task_1' }, { 'machinery-sent-at': expect.stringMatching(timeForm) }],
  ])('cannot change when a task was sent (%s)', async (_, options, headers) => {
    const prePublishHandler = ({ name }: Signature): Signature => ({ name, headers: { 'machinery-sent-at': 'x' } });
    const test = testServer({ server: { prePublishHandler } });
    await test.server.send(add(1), options);
    expect((await onlyMessage(test)).Headers).toEqual(headers);
    expect((await bodies(test))[0]).not.toContain('undefined');
  });

  it('may send it elsewhere, or answer nothing', async () => {
    const prePublishHandler = (signature: Signature) =>
      signature.name === 'add' ? { ...signature, routingKey: 'elsewhere' } : undefined;
    const test = testServer({ server: { prePublishHandler } });
    await test.server.send(add(1));
    await test.server.send(report('x'));
    expect(await onlyMessage(test, 'elsewhere')).toMatchObject({ Name: 'add', RoutingKey: 'elsewhere' });
    expect(await onlyMessage(test)).toMatchObject({ Name: 'report' });
  });

  it.each([
    ['an error', new Error('not today')],
    ['a text', 'not today'],
  ])('that throws %s refuses the send, and nothing is published or stored', async (_, refusal) => {
    const test = testServer({
      server: {
        prePublishHandler: () => {
          throw refusal;
        },
      },
    });
    const error = await thrownBy(() => test.server.send(add(1)));
    expect(error).toMatchObject({ code: 'ERR_MACHINERY_INVALID_SIGNATURE', cause: refusal });
    expect((error as Error).message).toContain('not today');
    expectNothingSent(test);
  });

  it('that answers a promise is refused with an error that says so', async () => {
    const test = testServer({ server: { prePublishHandler: (async () => undefined) as never } });
    expect(await thrownBy(() => test.server.send(add(1)))).toEqual(
      errorLike('ERR_MACHINERY_INVALID_OPTION', /^prePublishHandler must answer at once/),
    );
  });

  it('that answers a signature without headers keeps those of the original', async () => {
    const test = testServer({ server: { prePublishHandler: ({ name }) => ({ name: `${name}_two` }) } });
    await test.server.send(add(1), { headers: { trace: 'abc' }, timeoutMs: 5 });
    const { Name, Headers } = await onlyMessage(test);
    expect(Name).toBe('add_two');
    expect(Headers).toMatchObject({ trace: 'abc', 'machinery-timeout-ms': '5' });
  });

  it('is checked: arguments of the replacement in no wire form are refused, not published', async () => {
    const args = [{ type: 'int64', value: 'no number' }];
    const test = testServer({ server: { prePublishHandler: (signature) => ({ ...signature, args }) } });
    expect(await thrownBy(() => test.server.send(add(1)))).toMatchObject({ code: 'ERR_MACHINERY_INVALID_ARGUMENT' });
    expectNothingSent(test);
  });
});

describe('lists of what waits', () => {
  it('are in order, limited, and take nothing', async () => {
    const test = testServer();
    for (const n of [1, 2, 3]) await test.server.send(add(n));
    await test.server.send(add(5), { delayMs: 90_000 });
    await test.server.send(add(4), { delayMs: 80_000 });
    const values = (signatures: Signature[]) => signatures.map(({ args }) => args?.[0]?.value);
    expect(values(await test.server.pendingTasks('q', { limit: 2 }))).toEqual([1, 2]);
    expect(values(await test.server.pendingTasks())).toEqual([1, 2, 3]);
    expect(values(await test.server.delayedTasks())).toEqual([4, 5]);
    expect(values(await test.server.delayedTasks({ limit: 1 }))).toEqual([4]);
    expect(await test.server.pendingTasks('empty')).toEqual([]);
  });

  it('leave out what is no signature', async () => {
    const test = testServer();
    await test.broker.put('garbage');
    await test.server.send(add(1));
    expect(await test.server.pendingTasks()).toMatchObject([{ name: 'add' }]);
  });

  it('are refused where the broker has none', async () => {
    const broker = Object.assign(new MemoryBroker(), { pendingMessages: undefined, delayedMessages: undefined });
    await using server = new Server({ broker: broker as never, backend: new MemoryBackend() });
    const notSupported = (what: string) =>
      errorLike('ERR_MACHINERY_NOT_SUPPORTED', `@machinery/core/memory MemoryBroker does not support ${what}`);
    expect(await thrownBy(() => server.pendingTasks())).toEqual(notSupported('listing pending tasks'));
    expect(await thrownBy(() => server.delayedTasks())).toEqual(notSupported('listing delayed tasks'));
  });
});
