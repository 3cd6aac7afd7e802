// A small soak: processes are killed at random moments and nothing is lost; and what is lost is found.

import { startRedis } from '@machinery/services';
import { describe, expect, it } from 'vitest';
import { type SoakOptions, soak } from '../src/soak.ts';

const redis = await startRedis();
await redis?.stop(); // the soak has one of its own

/** Also answers what it printed. */
async function run(options: Partial<SoakOptions>): Promise<{ problems: string[]; printed: string }> {
  const lines: string[] = [];
  const problems = await soak({
    broker: 'redis',
    seed: 1,
    tasks: 2_000,
    kills: 0,
    workers: 3,
    pauseMs: 0,
    killServer: false,
    drop: 0,
    leaseMs: 1_500,
    beatMs: 300,
    patienceMs: 30_000,
    log: (line) => lines.push(line),
    ...options,
  });
  return { problems, printed: lines.join('\n') };
}

describe.skipIf(redis === undefined)('the soak', () => {
  it('kills workers at random moments, and nothing is lost', async () => {
    const { problems, printed } = await run({ kills: 8 });
    expect(problems, printed).toEqual([]);
    expect(printed).toContain('8 workers killed');
  }, 60_000);

  it('finds what was lost', async () => {
    const { problems } = await run({ tasks: 11, workers: 1, drop: 1, patienceMs: 3_000 });
    expect(problems).toEqual([
      expect.stringMatching(/was not finished within/),
      expect.stringMatching(/: expected .+, got PENDING/),
      expect.stringMatching(/has run 0 times/),
    ]);
  }, 30_000);
});
