// Metas and members of groups when others have their queues, the server does not answer, or a process died half-way.

import type { GroupMeta, StateWrite } from '@machinery/core';
import { rabbitServer } from '@machinery/services';
import { type ChannelModel, connect } from 'amqplib';
import { afterAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { AmqpBackend, type AmqpBackendOptions } from '../src/index.ts';

const rabbit = await rabbitServer();
const url = rabbit?.url as string;
afterAll(() => rabbit?.stop());

let last = 0;
const unique = (what: string) => `${what}_${process.pid}-${++last}-groups`;

/** `models` are the connections that it has opened. */
function open(options: AmqpBackendOptions = {}) {
  const models: ChannelModel[] = [];
  const openModel = async () => {
    const model = await connect(url);
    models.push(model);
    return model;
  };
  const backend = new AmqpBackend({ connect: openModel, ...options });
  onTestFinished(() => backend.close());
  return Object.assign(backend, { models });
}

async function rawChannel() {
  const model = await connect(url);
  onTestFinished(() => model.close());
  const channel = await model.createChannel();
  channel.on('error', () => {});
  return channel;
}

/** Answers a channel that has the record of the group, until it is closed. */
async function recordHeldBy(groupUuid: string) {
  const channel = await rawChannel();
  await new Promise<void>((held) => void channel.consume(`${groupUuid}_meta`, () => held()));
  return channel;
}

function metaOf(groupUuid: string): GroupMeta {
  const createdAt = '2026-11-21T08:00:00Z';
  return { groupUuid, taskUuids: ['a', 'b'], chordTriggered: false, lock: false, createdAt };
}

const write = (taskUuid: string, group?: StateWrite['group']): StateWrite => ({
  state: { taskUuid, taskName: 'add', state: 'SUCCESS', results: [], createdAt: '2026-11-21T08:00:00Z' },
  expiresInSeconds: 60,
  ...(group && { group }),
});

/** What a promise has come to after a while. */
const after = (ms: number, promise: Promise<unknown>) =>
  Promise.race([promise, new Promise((end) => setTimeout(end, ms, 'waits'))]);

describe.skipIf(rabbit === undefined)('the meta of a group', () => {
  it('is not there when its queue is empty, as a process died that had just declared it', async () => {
    const [backend, channel, uuid] = [open(), await rawChannel(), unique('group')];
    await backend.initGroup(metaOf(uuid), 60);
    await channel.purgeQueue(`${uuid}_meta`);
    expect(await backend.readGroup(uuid)).toBeUndefined();
    await backend.initGroup(metaOf(uuid), 60);
    expect(await Promise.all([backend.readGroup(uuid), backend.readGroup(uuid)])).toMatchObject(
      Array(2).fill({ groupUuid: uuid }),
    );
  });

  it('is there for all who look at once', async () => {
    const [backends, uuid] = [[open(), open(), open()], unique('group')];
    await backends[0]?.initGroup(metaOf(uuid), 60);
    const reads = backends.flatMap((backend) => Array.from({ length: 40 }, () => backend.readGroup(uuid)));
    expect((await Promise.all(reads)).filter((meta) => meta?.groupUuid === uuid)).toHaveLength(120);
  }, 20_000);

  it('holds up no states while it is waited for', async () => {
    const [backend, uuid] = [open({ channels: 1 }), unique('group')];
    await backend.initGroup(metaOf(uuid), 60);
    const holder = await recordHeldBy(uuid);
    const reading = backend.readGroup(uuid);
    expect(await after(300, reading)).toBe('waits');
    expect(await after(2_000, backend.write([write(unique('task'))]))).toEqual([{ status: 'stored' }]);
    await holder.close();
    expect(await reading).toMatchObject({ groupUuid: uuid });
  });

  it('may be waited for longer than the server may take to answer', async () => {
    const [backend, uuid] = [open({ commandTimeoutMs: 1_000 }), unique('group')];
    await backend.initGroup(metaOf(uuid), 60);
    const opened = backend.models.length;
    const holder = await recordHeldBy(uuid);
    const reading = backend.readGroup(uuid);
    expect(await after(2_000, reading)).toBe('waits');
    await holder.close();
    expect(await reading).toMatchObject({ groupUuid: uuid });
    expect(backend.models).toHaveLength(opened);
  });

  it('is not waited for on a connection that is lost', async () => {
    const [backend, uuid] = [open(), unique('group')];
    await backend.initGroup(metaOf(uuid), 60);
    await recordHeldBy(uuid);
    const reading = backend.readGroup(uuid).catch((error) => error);
    expect(await after(300, reading)).toBe('waits');
    await Promise.all(backend.models.map((model) => model.close()));
    expect(await after(3_000, reading)).toMatchObject({ code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' });
  });

  it('is refused for good, before anything is sent, when a name is too long for its queues', async () => {
    const backend = open();
    for (const length of [240, 256]) {
      const uuid = 'g'.repeat(length);
      const refused = { code: 'ERR_MACHINERY_BACKEND_FAILED', message: expect.stringMatching(/too long/) };
      await expect(backend.initGroup(metaOf(uuid), 60)).rejects.toMatchObject(refused);
      await expect(backend.takeGroup({ uuid, taskCount: 1 }, false)).rejects.toMatchObject(refused);
      await expect(backend.finishChord(uuid)).rejects.toMatchObject(refused);
    }
    await backend.initGroup(metaOf('g'.repeat(239)), 60);
    await backend.purge({ groups: ['g'.repeat(239)] });
  });
});

describe.skipIf(rabbit === undefined)('taking the states of a group', () => {
  it('asks less and less often while another one has them, and ends with the backend', async () => {
    const [backend, channel, group] = [open(), await rawChannel(), { uuid: unique('group'), taskCount: 1 }];
    await backend.write([write(unique('task'), group)]);
    await channel.assertQueue(`${group.uuid}_taken`, { exclusive: true, durable: false, autoDelete: true });
    const spies = backend.models.map((model) => vi.spyOn(model, 'createChannel'));
    const taking = backend.takeGroup(group, false).catch((error) => error);
    expect(await after(1_500, taking)).toBe('waits');
    const tries = spies.reduce((sum, { mock }) => sum + mock.calls.length, 0) / 2; // a try closes two channels
    expect(tries).toBeGreaterThan(2);
    expect(tries).toBeLessThan(9);
    const closing = backend.close().then(() => 'closed');
    expect(await after(3_000, closing)).toBe('closed');
    expect(await taking).toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
  });
});
