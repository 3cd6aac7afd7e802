// How fast one worker process runs what is queued: from its start until the last result is stored and the last message gone.

import { type Cell, rate, rateOf, type Timed } from './cell.ts';

export const drains: readonly Cell[] = [1, 10, 100].map((concurrency) => ({
  name: `drain-${concurrency}`,
  title: `drain, concurrency ${concurrency}`,
  metrics: [rate],
  async run(session) {
    const { tasks, warmUp } = session.sizes;
    const drain = async (n: number) => {
      await session.sender.ask({ do: 'enqueue', mode: 'flight', n });
      return session.worker.ask<Timed>({ do: 'drain', n, concurrency });
    };
    await drain(warmUp);
    await session.worker.ask({ do: 'stop' });
    const time = await drain(tasks);
    await session.verify(warmUp + tasks, warmUp + tasks);
    return rateOf(tasks, time);
  },
}));
