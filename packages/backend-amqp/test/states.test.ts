// States in queues on a real RabbitMQ: what Go's workers and clients find there, and what a process remembers.

import type { Logger, StateWrite, TaskState } from '@machinery/core';
import { rabbitServer } from '@machinery/services';
import { connect } from 'amqplib';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { AmqpBackend, type AmqpBackendOptions } from '../src/index.ts';

const rabbit = await rabbitServer();
const url = rabbit?.url as string;
afterAll(() => rabbit?.stop());

let last = 0;
const newUuid = () => `task_${process.pid}-${++last}`;

function open(options: Partial<AmqpBackendOptions> = {}) {
  const backend = new AmqpBackend({ url, ...options });
  const warnings: string[] = [];
  const logger: Logger = { debug() {}, info() {}, warn: (text) => void warnings.push(text), error() {} };
  backend.attach({ logger });
  onTestFinished(() => backend.close());
  return Object.assign(backend, { warnings });
}

async function rawChannel() {
  const model = await connect(url);
  onTestFinished(() => model.close());
  const channel = await model.createChannel();
  channel.on('error', () => {});
  return channel;
}

function write(taskUuid: string, state: TaskState['state'], expiresInSeconds = 3_600): StateWrite {
  const results = state === 'SUCCESS' ? { results: [{ type: 'int64', value: 2 }] } : {};
  return {
    state: { taskUuid, taskName: 'add', state, createdAt: '2026-11-21T08:00:00Z', ...results },
    expiresInSeconds,
  };
}

describe.skipIf(rabbit === undefined)('states on RabbitMQ', () => {
  it("are messages in Go's queues, with Go's arguments", async () => {
    const [backend, channel, uuid] = [open(), await rawChannel(), newUuid()];
    await backend.write([write(uuid, 'PENDING'), write(uuid, 'SUCCESS')]);
    const args = { 'x-message-ttl': 3_600_000, 'x-expires': 3_600_000 };
    await channel.assertQueue(uuid, { durable: false, autoDelete: true, arguments: args }); // or it is refused
    const got = [await channel.get(uuid), await channel.get(uuid)];
    const states = got.map((one) => one && (JSON.parse(one.content.toString()) as { State: string }).State);
    expect(states).toEqual(['PENDING', 'SUCCESS']);
  });

  it('that Go wrote are read together, and keep the name that Go loses', async () => {
    const [backend, channel, uuid] = [open(), await rawChannel(), newUuid()];
    await backend.write([write(uuid, 'PENDING')]);
    for (const State of ['RECEIVED', 'STARTED'])
      channel.sendToQueue(uuid, Buffer.from(JSON.stringify({ TaskUUID: uuid, TaskName: '', State, Results: null })));
    channel.sendToQueue(uuid, Buffer.from('no state'));
    await expect.poll(async () => (await backend.read([uuid]))[0]).toMatchObject({ state: 'STARTED', taskName: 'add' });
    await expect.poll(() => backend.warnings.join()).toContain('holds no state of a task');
  });

  it('that were read once are there for others in the process, and for no other process', async () => {
    const [backend, other, uuid] = [open(), open(), newUuid()];
    await backend.write([write(uuid, 'SUCCESS')]);
    const read = await Promise.all([backend.read([uuid]), backend.read([uuid])]);
    expect([...read.flat(), ...(await backend.read([uuid]))].map((state) => state?.state)).toEqual(
      Array(3).fill('SUCCESS'),
    );
    expect(await other.read([uuid])).toEqual([undefined]);
    await backend.purge({ tasks: [uuid] });
    expect(await backend.read([uuid])).toEqual([undefined]);
  });

  it('go to a queue that is there with other arguments, with a warning', async () => {
    const [backend, uuid] = [open(), newUuid()];
    await open({ resultsExpireInSeconds: 60 }).write([write(uuid, 'PENDING', 60)]);
    expect(await backend.write([write(uuid, 'SUCCESS')])).toEqual([{ status: 'stored' }]);
    expect((await backend.read([uuid]))[0]?.state).toBe('SUCCESS');
    expect(backend.warnings.join()).toContain('does everybody keep results for as long?');
  });

  it('that follow soon declare no queue that is there, and bring back one that is gone', async () => {
    const [backend, channel, uuid] = [open(), await rawChannel(), newUuid()];
    await channel.assertQueue(uuid, { durable: false, autoDelete: true }); // declaring it again would be refused, and warned of
    const { state, ...rest } = write(uuid, 'SUCCESS');
    const soon = { ...rest, state: { ...state, createdAt: new Date(Date.now() - 60_000).toISOString() } };
    expect(await backend.write([soon])).toEqual([{ status: 'stored' }]);
    expect(backend.warnings).toEqual([]);
    await channel.deleteQueue(uuid);
    expect(await backend.write([soon])).toEqual([{ status: 'stored' }]);
    expect((await backend.read([uuid]))[0]?.state).toBe('SUCCESS');
  });

  it('of a name that no queue can have are refused for good', async () => {
    const [backend, other] = [open(), newUuid()];
    for (const uuid of ['x'.repeat(256), `${'x'.repeat(253)}\n`]) {
      const outcomes = await backend.write([write(uuid, 'SUCCESS'), write(other, 'SUCCESS')]);
      expect(outcomes).toMatchObject([
        { status: 'failed', retryable: false, error: { message: expect.stringMatching(/too long/) } },
        { status: 'stored' },
      ]);
      expect((await backend.read([uuid, other])).map((state) => state?.state)).toEqual([undefined, 'SUCCESS']);
    }
  });

  it('come back with the connection, when the server is away for a moment', async () => {
    const backend = open({ url: 'amqp://127.0.0.1:1' });
    expect(await backend.write([write(newUuid(), 'PENDING')])).toMatchObject([{ status: 'failed', retryable: true }]);
    await expect(backend.read([newUuid()])).rejects.toMatchObject({ code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' });
  });

  it('warns of results that are to be kept for longer than their queues', async () => {
    const backend = open();
    await backend.write([write(newUuid(), 'SUCCESS', 7_200)]);
    expect(backend.warnings.join()).toContain('resultsExpireInSeconds');
  });
});
