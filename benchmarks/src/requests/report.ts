// The table of requests, and where a run of them is kept.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { markdown } from '../report/table.ts';
import type { RequestRun } from './measure.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));

export function requestTable({ sizes, rows }: RequestRun): string {
  const { together, members } = sizes;
  const head = [
    '',
    'a request is',
    'a task, alone',
    `a task of ${together.toLocaleString('en')}`,
    `a chord of ${members}`,
  ];
  return markdown(
    head,
    rows.map((row) => [row.store, row.request, ...[row.alone, row.together, row.chord].map(twoDigits)]),
  );
}

/** Keeps the raw numbers under a name, and shows them in docs/performance.md. */
export function saveRequests(run: RequestRun, name: string): void {
  const file = `benchmarks/results/requests-${name}.json`;
  writeFileSync(join(root, file), `${JSON.stringify(run, null, 2)}\n`);
  const { cpus, cpu, node, commit } = run.machine;
  const about = `${run.date.slice(0, 10)}; ${cpus} × ${cpu}, Node ${node}, commit ${commit}. Raw numbers: [${file}](../${file}).`;
  const block = `<!-- requests -->\n\n${about}\n\n${requestTable(run)}\n\n<!-- end of requests -->`;
  const page = join(root, 'docs/performance.md');
  const text = readFileSync(page, 'utf8');
  writeFileSync(
    page,
    text.replace(/<!-- requests -->.*<!-- end of requests -->/s, () => block),
  );
}

function twoDigits(value: number): string {
  return String(Number(value.toPrecision(value < 10 ? 2 : 3)));
}
