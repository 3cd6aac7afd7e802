// A server that refuses queues which are neither durable nor exclusive, as RabbitMQ does since 4.3: what stands before a real, older one
// answers such declarations as 4.3 does.

import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { Logger, StateWrite } from '@machinery/core';
import { rabbitServer } from '@machinery/services';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { AmqpBackend } from '../src/index.ts';

const rabbit = await rabbitServer();
const url = rabbit?.url as string;
afterAll(() => rabbit?.stop());

const refusal =
  'INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated.\nBy default, this feature is not permitted anymore.\nThe feature will be removed from a future major RabbitMQ version, regardless of the configuration; actual version to be determined.\nTo...';

/** connection.close with 541, which names queue.declare. */
function closing(): Buffer {
  const text = Buffer.from(refusal);
  const payload = Buffer.concat([Buffer.of(0, 10, 0, 50, 2, 29, text.length), text, Buffer.of(0, 50, 0, 10)]);
  const header = Buffer.alloc(7);
  header.writeUInt8(1, 0);
  header.writeUInt32BE(payload.length, 3);
  return Buffer.concat([header, payload, Buffer.of(206)]);
}

/** Whether the frame is a queue.declare that is not passive, durable or exclusive. */
function isRefused(frame: Buffer): boolean {
  const isDeclare = frame[0] === 1 && frame.readUInt32BE(7) === ((50 << 16) | 10);
  return isDeclare && ((frame[14 + (frame[13] as number)] as number) & 0b111) === 0;
}

/** Answers the URL, and how often something was refused. */
async function durableOnly(): Promise<{ readonly url: string; readonly refusals: () => number }> {
  let refusals = 0;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(Number(new URL(url).port), '127.0.0.1');
    for (const socket of [client, upstream]) sockets.add(socket.on('error', () => {}));
    upstream.pipe(client);
    client.on('close', () => upstream.destroy());
    let rest = Buffer.alloc(0);
    let isGreeted = false;
    client.on('data', (data) => {
      rest = Buffer.concat([rest, data]);
      while (rest.length >= 8) {
        const length = isGreeted ? rest.readUInt32BE(3) + 8 : 8;
        if (rest.length < length) return;
        const frame = rest.subarray(0, length);
        rest = rest.subarray(length);
        if (isGreeted && isRefused(frame)) {
          refusals += 1;
          upstream.unpipe(client);
          upstream.destroy();
          client.end(closing());
          return;
        }
        isGreeted = true;
        upstream.write(frame);
      }
    });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = new URL(url);
  address.port = String((server.address() as AddressInfo).port);
  return { url: address.href, refusals: () => refusals };
}

it.skipIf(rabbit === undefined)('states and chords are kept in durable queues, with one warning', async () => {
  const server = await durableOnly();
  const backend = new AmqpBackend({ url: server.url });
  onTestFinished(() => backend.close());
  const warnings: string[] = [];
  const logger: Logger = { debug() {}, info() {}, warn: (text) => void warnings.push(text), error() {} };
  backend.attach({ logger });
  const group = { uuid: `group_${process.pid}-durable`, taskCount: 20 };
  const taskUuids = Array.from({ length: 20 }, (_, i) => `task_${process.pid}-${i}-durable`);
  const createdAt = '2026-11-21T08:00:00Z';
  const writes = taskUuids.map(
    (taskUuid): StateWrite => ({
      state: { taskUuid, taskName: 'add', state: 'SUCCESS', results: [], createdAt },
      expiresInSeconds: 60,
      group,
    }),
  );
  expect(await backend.write(writes)).toEqual(writes.map(() => ({ status: 'stored' })));
  expect((await backend.read(taskUuids)).map((state) => state?.state)).toEqual(taskUuids.map(() => 'SUCCESS'));
  await backend.initGroup({ groupUuid: group.uuid, taskUuids, chordTriggered: false, lock: false, createdAt }, 60);
  await backend.write(writes);
  expect((await backend.takeGroup(group, false))?.states).toHaveLength(20);
  expect(warnings).toEqual([expect.stringContaining('takes only durable queues')]);
  expect(server.refusals()).toBe(1);
});
