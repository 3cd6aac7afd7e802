// Chords whose members' states are taken from RabbitMQ: large ones, ones that end twice, and ones that share their group with Go.

import { AmqpBroker } from '@machinery/broker-amqp';
import { chord, defineTask, encodeState, int64, rest, Server, silentLogger, type TaskState } from '@machinery/core';
import { rabbitServer } from '@machinery/services';
import { connect } from 'amqplib';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { AmqpBackend } from '../src/index.ts';

const rabbit = await rabbitServer();
const url = rabbit?.url as string;
afterAll(() => rabbit?.stop());

const same = defineTask('same', { args: [int64], returns: int64 });
const sum = defineTask('sum', { args: [rest(int64)], returns: int64 });

let last = 0;
const unique = (what: string) => `${what}_${process.pid}-${++last}-chords`;

function openServer(queue: string): Server {
  const broker = new AmqpBroker({ url, bindingKey: queue });
  const server = new Server({ broker, backend: new AmqpBackend({ url }), defaultQueue: queue, logger: silentLogger });
  onTestFinished(() => server.close());
  return server;
}

function openBackend(): AmqpBackend {
  const backend = new AmqpBackend({ url });
  onTestFinished(() => backend.close());
  return backend;
}

async function rawChannel() {
  const model = await connect(url);
  onTestFinished(() => model.close());
  const channel = await model.createConfirmChannel();
  channel.on('error', () => {});
  return channel;
}

function success(taskUuid: string): TaskState {
  return { taskUuid, taskName: '', state: 'SUCCESS', results: [{ type: 'int64', value: 1 }] };
}

const ended = (group: { uuid: string; taskCount: number }, taskUuid = unique('task')) => [
  { state: success(taskUuid), expiresInSeconds: 3_600, group },
];

describe.skipIf(rabbit === undefined)('chords on RabbitMQ', () => {
  it('of a thousand members on four workers call back once, with the results in their order', async () => {
    const queue = unique('queue');
    const workers = Array.from({ length: 4 }, () => openServer(queue));
    let calls = 0;
    for (const [i, server] of workers.entries()) {
      server.handle(same, (_, value) => value);
      server.handle(sum, (_, ...values) => {
        calls += 1;
        return values.reduce((total, value, at) => total + value * at, 0);
      });
      await server.newWorker(`worker-${i}`, { concurrency: 10 }).start();
    }
    const values = Array.from({ length: 1_000 }, (_, i) => i);
    const sender = openServer(queue);
    const result = await sender.send(
      chord(
        values.map((value) => same(value)),
        sum.partial(),
      ),
    );
    expect(await result.get({ timeoutMs: 30_000 })).toBe(values.reduce((total, value) => total + value * value, 0));
    expect(await result.group.get({ timeoutMs: 30_000 })).toEqual(values); // which nobody has taken
    expect(calls).toBe(1);
  }, 60_000);

  it('are refused when their tasks are due so far apart that the first state would have expired', async () => {
    const server = openServer(unique('queue'));
    const late = same(2).with({ eta: new Date(Date.now() + 3_700_000) });
    const sending = server.send(chord([same(1), late], sum.partial()));
    await expect(sending).rejects.toMatchObject({
      code: 'ERR_MACHINERY_NOT_SUPPORTED',
      message: expect.stringContaining('due more than 3600 s apart'),
    });
  });

  it('share the queue of the group with Go, and its arguments', async () => {
    const [backend, channel, group] = [openBackend(), await rawChannel(), { uuid: unique('group'), taskCount: 2 }];
    await backend.write(ended(group));
    const args = { 'x-message-ttl': 3_600_000, 'x-expires': 3_600_000 };
    await channel.assertQueue(group.uuid, { durable: false, autoDelete: true, arguments: args }); // or it is refused
    channel.sendToQueue(group.uuid, Buffer.from(encodeState(success(unique('task')))));
    await channel.waitForConfirms();
    expect((await channel.checkQueue(group.uuid)).messageCount).toBe(2); // what Go's workers compare
    const taken = await backend.takeGroup(group, false);
    expect(taken?.states).toHaveLength(2);
    expect((await channel.checkQueue(group.uuid)).messageCount).toBe(0);
    await backend.finishChord(group.uuid);
    await channel.checkQueue(`${group.uuid}_chord_triggered`); // what Go's workers look for
    await expect(channel.checkQueue(group.uuid)).rejects.toThrow(/NOT_FOUND/);
  });

  it('are left to a Go worker that takes the states itself', async () => {
    const [backend, channel, group] = [openBackend(), await rawChannel(), { uuid: unique('group'), taskCount: 2 }];
    await backend.write([...ended(group), ...ended(group)]);
    await channel.prefetch(1);
    await channel.consume(group.uuid, () => {}, { exclusive: true });
    expect(await backend.takeGroup(group, false)).toBeUndefined(); // one is ready
    expect(await backend.takeGroup(group, true)).toBeUndefined(); // which is given back
    expect((await channel.checkQueue(group.uuid)).messageCount).toBe(1);
  });

  it('drop the older of two states of one member, so that Go counts one', async () => {
    const [backend, channel, group] = [openBackend(), await rawChannel(), { uuid: unique('group'), taskCount: 3 }];
    const twice = unique('task');
    for (const taskUuid of [twice, unique('task'), twice]) await backend.write(ended(group, taskUuid));
    expect(await backend.takeGroup(group, true)).toBeUndefined();
    await expect.poll(async () => (await channel.checkQueue(group.uuid)).messageCount).toBe(2);
    await backend.write(ended(group));
    expect((await backend.takeGroup(group, false))?.states).toHaveLength(3);
  });

  it('fail when their states are deleted while they are taken', async () => {
    const [backend, channel, group] = [openBackend(), await rawChannel(), { uuid: unique('group'), taskCount: 500 }];
    await backend.write(Array.from({ length: 500 }, () => ended(group)).flat());
    const taking = backend.takeGroup(group, false).then(
      (taken) => taken?.states.length,
      (error) => error.code,
    );
    await expect
      .poll(async () => (await channel.checkQueue(group.uuid)).messageCount, { interval: 1 })
      .toBeLessThan(490);
    await channel.deleteQueue(group.uuid); // as a Go worker does that finds fewer states than it has counted
    expect(await taking).toBe('ERR_MACHINERY_GROUP_EXPIRED');
  });
});
