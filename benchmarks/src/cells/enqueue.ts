// How fast tasks are sent. A worker then runs them, to see that all are there.

import { type Cell, rate, rateOf, type Timed } from './cell.ts';

const modes = { one: 'one at a time', flight: '100 in flight', bulk: 'in bulk' };

export const enqueues: readonly Cell[] = Object.entries(modes).map(([mode, title]) => ({
  name: `enqueue-${mode}`,
  title: `enqueue, ${title}`,
  metrics: [rate],
  async run(session) {
    const { tasks, warmUp } = session.sizes;
    await session.sender.ask({ do: 'enqueue', mode, n: warmUp });
    const time = await session.sender.ask<Timed>({ do: 'enqueue', mode, n: tasks });
    await session.worker.ask({ do: 'drain', n: warmUp + tasks, concurrency: 100 });
    await session.verify(warmUp + tasks, warmUp + tasks);
    return rateOf(tasks, time);
  },
}));
