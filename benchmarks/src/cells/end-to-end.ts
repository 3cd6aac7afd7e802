// Send, run, and await every result, which the sender compares: 100 in flight.

import { type Cell, rate, rateOf, type Timed } from './cell.ts';

export const endToEnd: Cell = {
  name: 'end-to-end',
  title: 'end to end, 100 in flight',
  metrics: [rate],
  async run(session) {
    const { tasks, warmUp } = session.sizes;
    await session.worker.ask({ do: 'work', concurrency: 100 });
    await session.sender.ask({ do: 'roundtrip', n: warmUp });
    const time = await session.sender.ask<Timed>({ do: 'roundtrip', n: tasks });
    await session.verify(warmUp + tasks);
    return rateOf(tasks, time);
  },
};
