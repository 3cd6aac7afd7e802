// Tasks that kill their process.

import { type StartedRedis, startRedis } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import { patienceMs, poison, Scene, told, work } from './faults/setup.ts';

const redis = (await startRedis()) as StartedRedis;
afterAll(() => redis?.stop());

describe.skipIf(redis === undefined)('a task that kills its process every time', () => {
  it('is a FAILURE after `maxDeliveries`, its error callback runs, and others are not held up', async () => {
    const scene = new Scene(redis.url);
    const { server } = scene;
    // One at a time: what else a dead process had in hand would be counted, too
    const settings = { concurrency: 1, maxDeliveries: 2, leaseMs: 1_000, beatMs: 200 };
    const before = await Promise.all([1, 2, 3].map((n) => server.send(work(n))));
    const toldUuid = `task_${scene.queue}`;
    const result = await server.send(poison(), { onError: [told.partial().with({ uuid: toldUuid })] });
    const after = await Promise.all([4, 5, 6].map((n) => server.send(work(n))));

    for (const name of ['first', 'second']) {
      const { program } = await scene.start({ name, ...settings });
      expect(await program.ended).toBe('SIGKILL');
    }
    const last = await scene.start({ name: 'last', ...settings });
    const text = 'was delivered 3 times and never ended';
    await expect(result.get({ timeoutMs: patienceMs })).rejects.toThrow(text);
    expect(await server.result(toldUuid, told).get({ timeoutMs: patienceMs })).toContain(text);
    const others = await Promise.all([...before, ...after].map((other) => other.get({ timeoutMs: patienceMs })));
    expect(others).toEqual([1, 2, 3, 4, 5, 6]);
    expect(scene.workers.map((worker) => worker.begun('poison').length)).toEqual([1, 1, 0]);
    expect(last.of('error')).toEqual([{ event: 'error', code: 'ERR_MACHINERY_TOO_MANY_DELIVERIES' }]);
    expect(await last.program.stop()).toBe(0);
  }, 60_000);
});
