// Two processes with the same entry on one Redis: each tick is sent by one of them, and the one that is left goes on.

import { redisServer } from '@machinery/services';
import { afterAll, expect, it, vi } from 'vitest';
import { Program } from './program.ts';

const redis = await redisServer();
afterAll(() => redis?.stop());

it.skipIf(redis === undefined)(
  'sends each tick once, from whichever process is there',
  { timeout: 60_000 },
  async () => {
    const start = () => new Program(['periodic/on-redis.js'], { REDIS_URL: redis?.url });
    const [first, second] = [start(), start()];
    const reports = () =>
      [...first.lines, ...second.lines].map((line) => /^report of (\S+), sent by process \d+$/.exec(line)?.[1]);
    await vi.waitUntil(() => reports().length >= 2, { timeout: 20_000 });
    expect(await first.stop()).toBe(0);
    const before = reports().length;
    await vi.waitUntil(() => reports().length >= before + 2, { timeout: 20_000 });
    expect(await second.stop()).toBe(0);
    expect(reports()).not.toContain(undefined);
    expect(new Set(reports()).size).toBe(reports().length);
  },
);
