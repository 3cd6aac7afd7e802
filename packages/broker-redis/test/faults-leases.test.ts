// Workers that stand still for longer than their lease.

import { type StartedRedis, startRedis } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import { block, hold, patienceMs, Scene, work } from './faults/setup.ts';

const redis = (await startRedis()) as StartedRedis;
afterAll(() => redis?.stop());

describe.skipIf(redis === undefined)('a worker that stands still', () => {
  it('loses what it has to another, takes nothing of that away when it goes on, and works on', async () => {
    const scene = new Scene(redis.url);
    const { server } = scene;
    const first = await scene.start({ name: 'first', concurrency: 4 });
    const held = await Promise.all([1, 2, 3, 4].map((n) => server.send(hold(n))));
    await scene.reported('the first worker to have them', () => first.begun('hold').length === 4);

    await first.program.kill('SIGSTOP');
    const second = await scene.start({ name: 'second', concurrency: 4 });
    await scene.reported('the second worker to have them', () => second.begun('hold').length === 4);
    const redelivery = { event: 'take', redelivered: true, deliveryCount: 2 };
    expect(second.of('take')).toEqual([redelivery, redelivery, redelivery, redelivery]);

    // It ends them now, and they are not its own any more
    await first.program.kill('SIGCONT');
    first.release();
    const dropped = () => first.of('warn').filter(({ text }) => text.includes('was given to another worker'));
    await scene.reported('the first worker to drop what it did', () => dropped().length === 4);
    const fresh = await Promise.all([5, 6, 7, 8].map((n) => server.send(work(n))));
    for (const result of fresh) await result.get({ timeoutMs: patienceMs });
    expect(first.begun('work').sort()).toEqual([5, 6, 7, 8]);
    for (const result of held) expect(await result.touch()).toEqual({ done: false });

    // Nothing of the second worker's was acked: when it dies, all of it comes again
    await second.program.kill();
    for (const result of held) expect(await result.get({ timeoutMs: patienceMs })).toBe('first');
    expect(first.begun('hold').sort()).toEqual([1, 1, 2, 2, 3, 3, 4, 4]);
    expect(await first.program.stop()).toBe(0);
    expect(await server.pendingTasks(scene.queue)).toEqual([]);
  }, 60_000);

  it('because a task blocks it keeps that task', async () => {
    const scene = new Scene(redis.url);
    const blocked = await scene.start({ name: 'blocked', concurrency: 1 });
    const result = await scene.server.send(block(4_000));
    await scene.reported('the task to begin', () => blocked.begun('block').length === 1);
    const other = await scene.start({ name: 'other' });
    expect(await result.get({ timeoutMs: 10_000 })).toBe('blocked');
    expect([...other.of('take'), ...blocked.of('warn')]).toEqual([]);
    expect(await other.program.stop()).toBe(0);
    expect(await blocked.program.stop()).toBe(0);
    expect(blocked.begun('block')).toEqual([4_000]);
  }, 60_000);
});
