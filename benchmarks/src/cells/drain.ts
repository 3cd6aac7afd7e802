// How fast one worker process runs what is queued: from its start until the last result is stored and the last message gone.
// A process that has just begun is slower, as its code is not compiled yet: that is shown by itself.

import { type Cell, type Metric, rate, type Timed } from './cell.ts';

const first: Metric = { key: 'first', title: 'the first of a process', unit: 'tasks/s', better: 'more' };

export const drains: readonly Cell[] = [1, 10, 100].map((concurrency) => ({
  name: `drain-${concurrency}`,
  title: `drain, concurrency ${concurrency}`,
  metrics: [rate, first],
  async run(session) {
    const { tasks, warmUp } = session.sizes;
    const drain = async (n: number) => {
      await session.sender.ask({ do: 'enqueue', mode: 'flight', n });
      return session.worker.ask<Timed>({ do: 'drain', n, concurrency });
    };
    const cold = await drain(warmUp);
    await session.worker.ask({ do: 'stop' });
    const warm = await drain(tasks);
    await session.verify(warmUp + tasks, warmUp + tasks);
    return { values: { rate: (tasks / warm.ms) * 1_000, first: (warmUp / cold.ms) * 1_000 } };
  },
}));
