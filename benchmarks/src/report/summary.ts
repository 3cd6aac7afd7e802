// What several rounds say together, for the table, the targets and the charts.

import { cells } from '../cells/index.ts';
import type { Run } from '../run.ts';
import { median } from './statistics.ts';

export interface Summary {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  /** It was stopped there: the true number is larger. */
  readonly atLeast: boolean;
}

/** undefined where it was not measured. */
export function summary(run: Run, system: string, cell: string, metric: string): Summary | undefined {
  const rounds = run.rounds.filter((round) => round.system === system && round.cell === cell);
  const values = rounds.flatMap(({ values }) => values?.[metric] ?? []);
  if (values.length === 0) return undefined;
  const atLeast = rounds.some((round) => round.atLeast?.includes(metric));
  return { median: median(values), least: Math.min(...values), most: Math.max(...values), atLeast };
}

/** All rows that a run has numbers for: a metric of a cell. */
export function measured(run: Run) {
  return cells.flatMap((cell) =>
    cell.metrics
      .filter((metric) =>
        run.rounds.some((round) => round.cell === cell.name && round.values?.[metric.key] !== undefined),
      )
      .map((metric) => ({ cell, metric, title: [cell.title, metric.title].filter(Boolean).join(': ') })),
  );
}

/** Three digits that matter, thousands apart. */
export function number(value: number): string {
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  const rounded = value >= 1_000 ? Number(value.toPrecision(3)) : value;
  return rounded.toLocaleString('en', { maximumFractionDigits: Math.min(digits, 2) });
}
