// A tiny run: its counts, its raw numbers, and what is made of them.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRedis } from '@machinery/services';
import { describe, expect, it, onTestFinished } from 'vitest';
import { cells } from '../src/cells/index.ts';
import { failures, table, targetTable } from '../src/report/table.ts';
import { write } from '../src/report/write.ts';
import { type Run, run } from '../src/run.ts';
import { quick, type Sizes } from '../src/sizes.ts';
import { isOneOf, systems } from '../src/systems.ts';

const redis = await startRedis();
await redis?.stop(); // every session has one of its own

const tiny: Sizes = {
  ...quick,
  tasks: 50,
  warmUp: 10,
  pings: 5,
  chords: { 10: 1 },
  delayed: { tasks: 20, overMs: 100, leadMs: 200 },
  crash: { tasks: 20, taskMs: 1 },
  idleMs: 100,
};

function measure(names: readonly string[], which: readonly string[], sizes = tiny): Promise<Run> {
  return run({
    broker: 'redis',
    cells: cells.filter(({ name }) => isOneOf(name, which)),
    systems: systems.redis.filter(({ name }) => names.includes(name)),
    sizes,
    log: () => {},
  });
}

describe.skipIf(redis === undefined)('the benchmarks', () => {
  it('measure what they are asked for, and count what ran', async () => {
    const result = await measure(['machinery'], ['enqueue-bulk', 'end-to-end', 'latency', 'delayed', 'memory']);
    expect(failures(result)).toEqual([]);
    expect(result.rounds.map(({ cell }) => cell)).toEqual([
      'enqueue-bulk',
      'end-to-end',
      'latency',
      'delayed',
      'memory',
    ]);
    for (const { values } of result.rounds)
      for (const value of Object.values(values ?? {})) expect(value).toSatisfy(Number.isFinite);
  }, 30_000);

  it('ask each system for what it has', async () => {
    const names = ['machinery', 'bullmq', 'raw', 'memory'];
    const result = await measure(names, ['drain-100', 'chord-10']);
    expect(failures(result)).toEqual([]);
    expect(Object.keys(result.versions)).toEqual(names);
    expect(result.versions.bullmq).toMatchObject({ bullmq: expect.stringMatching(/^6\./) });
    const chords = result.rounds.filter(({ cell }) => cell === 'chord-10');
    expect(chords.map(({ system }) => system)).toEqual(['machinery', 'bullmq', 'memory']);
    expect(result.rounds).toHaveLength(4 + 3);
  }, 30_000);

  it('take turns, and write raw numbers, tables and charts', async () => {
    const result = await measure(['machinery', 'raw'], ['drain-100'], { ...tiny, rounds: 2 });
    expect(result.rounds.map(({ system, round }) => `${system} ${round}`)).toEqual([
      'machinery 1',
      'raw 1',
      'machinery 2',
      'raw 2',
    ]);
    const folder = mkdtempSync(join(tmpdir(), 'machinery-bench-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    write(result, folder);
    expect(JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8'))).toEqual(result);
    expect(readFileSync(join(folder, 'drain.svg'), 'utf8')).toContain('Machinery</text>');
    expect(table(result)).toMatch(
      /\| drain, concurrency 100 \(tasks\/s\) \| [\d,]+ \([\d,]+–[\d,]+\) \| .+ ×[\d.,]+ \|/,
    );
    expect(targetTable(result)).toMatch(/to the raw loop \| ≥ 1\.2× \| [\d.]+× \| (reached|\*\*missed\*\*) \|/);
  }, 30_000);
});

it('fail when the counts are wrong', async () => {
  const answer = '{"versions": {}, "ms": 1, "runs": [[0, 0], [0, 0]], "stored": 2}';
  const script = `process.stdin.on('data', () => console.log('${answer}'))`;
  const cheat = {
    name: 'cheat',
    title: 'Cheat',
    noRedis: true,
    program: () => [process.execPath, '-e', script] as const,
  };
  const drain = cells.filter(({ name }) => name === 'drain-100');
  const result = await run({ broker: 'redis', cells: drain, systems: [cheat], sizes: tiny, log: () => {} });
  expect(failures(result)).toEqual(['drain-100, cheat, round 1: 2 runs of 1 tasks, expected 60 of 60']);
});
