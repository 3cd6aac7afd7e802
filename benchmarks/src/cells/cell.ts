// What a cell is: something that is measured, of one system at a time.

import type { Session } from '../session.ts';
import type { BrokerName } from '../systems.ts';

export interface Metric {
  readonly key: string;
  readonly title: string;
  readonly unit: string;
  readonly better: 'more' | 'less';
}

export interface Outcome {
  readonly values: { readonly [metric: string]: number };
  /** Of these the time was over: they are at least that. */
  readonly atLeast?: readonly string[];
}

export interface Cell {
  /** `family-detail`; `--cell` takes either. */
  readonly name: string;
  readonly title: string;
  readonly metrics: readonly Metric[];
  /** Measured on this broker only. */
  readonly only?: BrokerName;
  /** All systems at the same time, as they mostly wait. */
  readonly beside?: boolean;
  /** Takes long whatever the sizes are: a quick run has it only when it is asked for. */
  readonly slow?: boolean;
  run(session: Session): Promise<Outcome>;
}

export interface Timed {
  readonly ms: number;
}

export const rate: Metric = { key: 'rate', title: '', unit: 'tasks/s', better: 'more' };

export function rateOf(tasks: number, { ms }: Timed): Outcome {
  return { values: { rate: (tasks / ms) * 1_000 } };
}
