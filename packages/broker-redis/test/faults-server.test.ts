// A Redis that is killed and comes back with what it has confirmed.

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { within } from '@machinery/conformance';
import { encodeSignature, type Message, type Outcome } from '@machinery/core';
import { type StartedRedis, startRedis } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import { hold, patienceMs, Scene, work } from './faults/setup.ts';

const redis = (await startRedis({ settings: ['--appendonly', 'yes', '--appendfsync', 'always'] })) as StartedRedis;
afterAll(() => redis?.stop());

function messageOf(queue: string, uuid: string, n: number): Message {
  const signature = { ...work(n), uuid, routingKey: queue };
  return { body: encodeSignature(signature), routingKey: queue, signature };
}

describe.skipIf(redis === undefined)('a Redis that is killed under load and started again', () => {
  it('has all that it accepted, workers come back by themselves, and who waits goes on waiting', async () => {
    const scene = new Scene(redis.url);
    const { server } = scene;
    const workers = [await scene.start({ name: 'first' }), await scene.start({ name: 'second' })];
    const waiting = (await server.send(hold(0))).get();
    waiting.catch(() => {}); // awaited later
    const begun = (task: string) => workers.flatMap((worker) => worker.begun(task));
    await scene.reported('the task to begin', () => begun('hold').length === 1);

    const accepted: { uuid: string; n: number }[] = [];
    const refused: Outcome[] = [];
    let isBack = false;
    /** Batches, so that some are halfway at any moment. */
    const publish = async (lane: number) => {
      // Until Redis works again, and for a while after
      for (let [from, left] = [lane * 50, 3]; left > 0; from += 200) {
        const sent = Array.from({ length: 50 }, (_, i) => ({ uuid: `task_${randomUUID()}`, n: from + i }));
        const outcomes = await server.broker.publish(sent.map(({ uuid, n }) => messageOf(scene.queue, uuid, n)));
        accepted.push(...sent.filter((_, i) => outcomes[i]?.status === 'stored'));
        const others = outcomes.filter(({ status }) => status !== 'stored');
        refused.push(...others);
        if (others.length > 0) await sleep(20);
        else if (isBack) left--;
      }
    };
    const lanes = Array.from({ length: 4 }, (_, lane) => publish(lane));
    await scene.reported('the load to flow', () => begun('work').length >= 200);
    await redis.kill();
    await redis.start();
    isBack = true;
    await within(patienceMs, 'the publishers to end', Promise.all(lanes));
    expect(refused.length).toBeGreaterThan(0);
    for (const outcome of refused)
      expect(outcome).toMatchObject({ error: { code: 'ERR_MACHINERY_BROKER_UNAVAILABLE' } });

    const results = accepted.map(({ uuid }) => server.result(uuid, work).get());
    const values = await within(patienceMs, 'all accepted tasks to end', Promise.all(results));
    expect(values).toEqual(accepted.map(({ n }) => n));

    // More than one of them has room for
    const held = await Promise.all(Array.from({ length: 18 }, (_, n) => server.send(hold(n + 1))));
    await scene.reported('both workers to work', () => new Set(begun('hold')).size === 19);
    for (const worker of workers) worker.release();
    for (const result of held) expect(['first', 'second']).toContain(await result.get({ timeoutMs: patienceMs }));
    expect(['first', 'second']).toContain(await within(patienceMs, 'who waited to be told', waiting));
    for (const { program } of workers) expect(await program.stop()).toBe(0);
  }, 60_000);
});
