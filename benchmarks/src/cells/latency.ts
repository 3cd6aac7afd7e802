// One task at a time, on an idle worker.

import { percentile } from '../report/statistics.ts';
import type { Cell, Metric } from './cell.ts';

const metric = (key: string, title: string): Metric => ({ key, title, unit: 'ms', better: 'less' });

interface Pings {
  readonly pings: readonly (readonly [a: number, sentAt: number, gotAt: number])[];
}

export const latency: Cell = {
  name: 'latency',
  title: 'latency',
  metrics: [
    metric('started50', 'sent → started, p50'),
    metric('started99', 'sent → started, p99'),
    metric('result50', 'sent → result, p50'),
    metric('result99', 'sent → result, p99'),
  ],
  async run(session) {
    const { pings: n, warmUp, limitMs } = session.sizes;
    const ping = (count: number, limit: number) =>
      session.sender.ask<Pings>({ do: 'latency', n: count, limitMs: limit });
    await session.worker.ask({ do: 'work', concurrency: 10 });
    // Of a process that has just begun, the last percent are compilations.
    await session.sender.ask({ do: 'enqueue', mode: 'one', n: warmUp });
    const first = await ping(Math.ceil(n / 3), limitMs.latency / 2);
    const { pings } = await ping(n, limitMs.latency);
    await session.verify(warmUp + first.pings.length + pings.length);
    const startedAt = new Map(await session.runs());
    const started = pings.map(([a, sentAt]) => (startedAt.get(a) as number) - sentAt);
    const result = pings.map(([, sentAt, gotAt]) => gotAt - sentAt);
    return {
      values: {
        started50: percentile(started, 0.5),
        started99: percentile(started, 0.99),
        result50: percentile(result, 0.5),
        result99: percentile(result, 0.99),
      },
    };
  },
};
