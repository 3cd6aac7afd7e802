// Who waits for a task is told, and nothing is left of it.

import { setTimeout as sleep } from 'node:timers/promises';
import { defineTask, int64, Server, silentLogger, type TaskState } from '@machinery/core';
import { MemoryBroker } from '@machinery/core/memory';
import { startRedis } from '@machinery/services';
import { describe, expect, it } from 'vitest';
import { newUuid, open, raw, stopped, until, write } from './setup.ts';

const redis = stopped(await startRedis()); // its own: nobody else listens there
const add = defineTask('add', { args: [int64, int64], returns: int64 });

describe.skipIf(redis === undefined)('a push', () => {
  const url = redis?.url ?? 'redis://127.0.0.1:1';
  const client = raw({ url });
  const channels = async () => (await client.pubsub('CHANNELS', 'machinery:*')) as string[];
  const nobodyListens = () => until(async () => (await channels()).length === 0);

  it('ends the waiting for a result within 20 ms, at the median of 100, and leaves no subscription', async () => {
    const broker = new MemoryBroker();
    await using worker = new Server({ broker, backend: open({ url }), logger: silentLogger });
    await using sender = new Server({ broker, backend: open({ url }), logger: silentLogger });
    let ended = 0;
    worker.handle(add, async (_, a, b) => {
      await sleep(30); // so that the sender waits
      ended = performance.now();
      return a + b;
    });
    await worker.newWorker('worker-1').start();
    const took: number[] = [];
    for (let i = 0; i < 100; i++) {
      const result = await sender.send(add(i, 1));
      expect(await result.get({ timeoutMs: 10_000 })).toBe(i + 1);
      took.push(performance.now() - ended);
    }
    expect(took.toSorted((a, b) => a - b)[50]).toBeLessThan(20);
    await nobodyListens();
  });

  it('is for each that waits, once, and for nobody else', async () => {
    const [backend, writer] = [open({ url }), open({ url })];
    const uuids = Array.from({ length: 20 }, () => newUuid());
    const seen: TaskState[] = [];
    const listener = (state: TaskState) => void seen.push(state);
    for (const uuid of uuids) backend.watch(uuid, listener);
    backend.watch(uuids[0] as string, () => {
      throw new Error('no harm to the others');
    });
    backend.watch(uuids[0] as string, listener);
    const stop = backend.watch(uuids[1] as string, listener);
    stop();
    stop();
    await until(async () => (await channels()).length === 20);
    for (const state of ['STARTED', 'SUCCESS', 'SUCCESS'] as const) {
      await writer.write(uuids.map((uuid) => write(uuid, state)));
    }
    await until(() => seen.length === 21);
    expect(seen.map(({ taskUuid }) => taskUuid).toSorted()).toEqual([uuids[0], ...uuids].toSorted());
    expect(seen.every(({ state }) => state === 'SUCCESS')).toBe(true);
    await nobodyListens();
    expect(seen).toHaveLength(21);
  });

  it('comes for what was merged, too', async () => {
    const backend = open({ url });
    const uuid = newUuid();
    await backend.write([write(uuid, 'PENDING')]);
    const ended = new Promise<TaskState>((resolve) => backend.watch(uuid, resolve));
    await until(async () => (await channels()).length === 1);
    const { createdAt: _, ...failure } = write(uuid, 'FAILURE', { taskName: '', error: 'why' }).state;
    await open({ url }).write([{ state: failure, expiresInSeconds: 60 }]);
    expect(await ended).toEqual(write(uuid, 'FAILURE', { error: 'why' }).state);
  });

  it('comes though the task ends while the subscription is on its way', async () => {
    for (let i = 0; i < 50; i++) {
      const [backend, uuid] = [open({ url }), newUuid()];
      await backend.write([write(uuid, 'STARTED')]);
      const ended = new Promise<TaskState>((resolve) => backend.watch(uuid, resolve));
      if (i % 2 === 0) await backend.read([uuid]);
      await backend.write([write(uuid, 'SUCCESS')]);
      expect((await ended).state).toBe('SUCCESS');
      await backend.close();
    }
  });

  it('is not said by who does not push, and found all the same', async () => {
    const broker = new MemoryBroker();
    await using worker = new Server({ broker, backend: open({ url, push: false }), logger: silentLogger });
    await using sender = new Server({ broker, backend: open({ url }), logger: silentLogger });
    worker.handle(add, (_, a, b) => a + b);
    await worker.newWorker('worker-1').start();
    expect(await (await sender.send(add(1, 1))).get({ timeoutMs: 10_000 })).toBe(2);
    await nobodyListens();
  });

  it('leaves nothing when who waits gives up', async () => {
    await using server = new Server({ broker: new MemoryBroker(), backend: open({ url }), logger: silentLogger });
    const result = await server.send(add(1, 1));
    await expect(result.get({ timeoutMs: 100 })).rejects.toMatchObject({ code: 'ERR_MACHINERY_RESULT_TIMEOUT' });
    await nobodyListens();
  });
});
