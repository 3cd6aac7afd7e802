// How late delayed tasks begin, when nothing else is to do. One that did not begin in time is at least as late as the limit says.

import { setTimeout as sleep } from 'node:timers/promises';
import { percentile } from '../report/statistics.ts';
import type { Session } from '../session.ts';
import type { Cell, Metric } from './cell.ts';

const clock = () => performance.timeOrigin + performance.now();
const early: Metric = { key: 'early', title: 'early', unit: 'tasks', better: 'less' };

export const delayed: Cell = {
  name: 'delayed',
  title: 'delayed tasks',
  metrics: [
    { key: 'late50', title: 'lateness, p50', unit: 'ms', better: 'less' },
    { key: 'late99', title: 'lateness, p99', unit: 'ms', better: 'less' },
    early,
  ],
  async run(session) {
    const { late, complete } = await lateness(session, session.sizes.delayed);
    const values = { late50: percentile(late, 0.5), late99: percentile(late, 0.99), early: countEarly(late) };
    return complete ? { values } : { values, atLeast: ['late50', 'late99'] };
  },
};

export const delayedBurst: Cell = {
  name: 'delayed-burst',
  title: 'delayed tasks, 1,000 due at once',
  only: 'amqp',
  metrics: [{ key: 'lateMost', title: 'until the last begins', unit: 'ms', better: 'less' }, early],
  async run(session) {
    const { late, complete } = await lateness(session, { ...session.sizes.burst, overMs: 0 });
    const values = { lateMost: Math.max(...late), early: countEarly(late) };
    return complete ? { values } : { values, atLeast: ['lateMost'] };
  },
};

interface Load {
  readonly tasks: number;
  readonly leadMs: number;
  readonly overMs: number;
}

/** Of each task, in milliseconds. */
async function lateness(session: Session, { tasks: n, leadMs, overMs }: Load) {
  await session.worker.ask({ do: 'work', concurrency: 100 });
  const { etas } = await session.sender.ask<{ etas: [number, number][] }>({ do: 'delay', n, leadMs, overMs });
  const last = Math.max(...etas.map(([, eta]) => eta));
  await sleep(last - clock() + 200);
  let runs = await session.runs();
  while (runs.length < n && clock() < last + session.sizes.limitMs.delayed) {
    await sleep(200);
    runs = await session.runs();
  }
  const now = clock();
  const complete = runs.length >= n;
  if (complete) await session.verify(n);
  const startedAt = new Map(runs);
  return { late: etas.map(([a, eta]) => (startedAt.get(a) ?? now) - eta), complete };
}

/** A millisecond is what two clocks of one process may differ by. */
function countEarly(late: readonly number[]): number {
  return late.filter((ms) => ms < -1).length;
}
