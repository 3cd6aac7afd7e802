// The tables: medians with ranges, and each as a multiple of this project's; and the targets.

import type { Run } from '../run.ts';
import { systems } from '../systems.ts';
import { measured, number, type Summary, summary } from './summary.ts';
import { targets } from './targets.ts';

const ours = 'machinery';

export function table(run: Run): string {
  const columns = systems[run.broker].filter(({ name }) => run.rounds.some(({ system }) => system === name));
  const rows = measured(run).map(({ cell, metric, title }) => {
    const reference = summary(run, ours, cell.name, metric.key);
    const entries = columns.map(({ name }) => {
      const found = summary(run, name, cell.name, metric.key);
      return found === undefined ? '' : entry(found, name === ours ? undefined : reference);
    });
    return [metric.unit === '' ? title : `${title} (${metric.unit})`, ...entries];
  });
  return markdown(['', ...columns.map(({ title }) => title)], rows);
}

export function targetTable(run: Run): string {
  const rows = targets[run.broker].map((target) => {
    const { measured, reached } = target.check(run);
    return [target.title, target.bound, measured, verdict(measured, reached)];
  });
  return markdown(['target', 'bound', 'measured', ''], rows);
}

function verdict(measured: string, reached: boolean | undefined): string {
  if (reached === undefined) return measured === '' ? 'not measured' : 'undecided';
  return reached ? 'reached' : '**missed**';
}

export function failures(run: Run): string[] {
  return run.rounds.flatMap(({ cell, system, round, error }) =>
    error === undefined ? [] : [`${cell}, ${system}, round ${round}: ${error}`],
  );
}

function entry(found: Summary, reference: Summary | undefined): string {
  if (found.atLeast) return `> ${number(found.median)}`;
  const range = found.least === found.most ? '' : ` (${number(found.least)}–${number(found.most)})`;
  const share = reference === undefined || reference.atLeast ? Number.NaN : found.median / reference.median;
  return number(found.median) + range + (Number.isFinite(share) && share > 0 ? ` ×${number(share)}` : '');
}

export function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
