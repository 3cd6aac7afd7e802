// More messages of unknown tasks than a worker can remember: it waits with them instead of spinning.

import { expect, it } from 'vitest';
import { testServer } from './test-server.ts';

it('leaves timers and other tasks their turn', async () => {
  const test = testServer();
  const message = (n: number) => ({ uuid: `task_${n}`, name: 'unknown' });
  const bodies = Array.from({ length: 10_500 }, (_, n) => message(n));
  await test.broker.memory.publish(
    bodies.map((signature) => ({
      body: JSON.stringify({ UUID: signature.uuid, Name: 'unknown' }),
      routingKey: 'q',
      signature,
    })),
  );
  test.server.registerTask('work', () => 'done');
  await test.startWorker({ concurrency: 10 });
  const result = await test.server.send({ name: 'work' });
  expect(await result.get({ timeoutMs: 5_000 })).toBe('done');
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  clearInterval(timer);
  expect(ticks).toBeGreaterThan(0);
});
