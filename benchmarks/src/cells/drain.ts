// How fast one worker process runs what is queued: from its start until the last result is stored and the last message gone.
// A process that has just begun is slower, as its code is not compiled yet: that is shown by itself. The fastest are done in a quarter of a
// second, in which one interruption is a tenth: all drain several times in a round, and the median counts.

import { median } from '../report/statistics.ts';
import { type Cell, type Metric, rate, type Timed } from './cell.ts';

const first: Metric = { key: 'first', title: 'the first of a process', unit: 'tasks/s', better: 'more' };

export const drains: readonly Cell[] = [1, 10, 100].map((concurrency) => ({
  name: `drain-${concurrency}`,
  title: `drain, concurrency ${concurrency}`,
  metrics: [rate, first],
  async run(session) {
    const { tasks, warmUp, drains } = session.sizes;
    const drain = async (n: number) => {
      await session.sender.ask({ do: 'enqueue', mode: 'flight', n });
      return session.worker.ask<Timed>({ do: 'drain', n, concurrency });
    };
    const cold = await drain(warmUp);
    const warm: number[] = [];
    const times = concurrency === 1 ? 1 : drains;
    for (let i = 0; i < times; i++) {
      await session.worker.ask({ do: 'stop' });
      warm.push((await drain(tasks)).ms);
    }
    const all = warmUp + times * tasks;
    await session.verify(all, all);
    return { values: { rate: (tasks / median(warm)) * 1_000, first: (warmUp / cold.ms) * 1_000 } };
  },
}));
