// What a queued task takes in Redis, and a worker process that drains them: the most it ever had (Linux only).

import { readFileSync } from 'node:fs';
import type { Cell } from './cell.ts';

export const memory: Cell = {
  name: 'memory',
  title: 'memory',
  metrics: [
    { key: 'queued', title: 'Redis, a queued task', unit: 'bytes', better: 'less' },
    { key: 'worker', title: 'worker process, peak', unit: 'MB', better: 'less' },
  ],
  async run(session) {
    const { tasks } = session.sizes;
    const used = async () => Number(/used_memory:(\d+)/.exec(await session.redis.info('memory'))?.[1]);
    // One at a time, as the buffers of many connections would count.
    const enqueue = (n: number) => session.sender.ask({ do: 'enqueue', mode: 'one', n });
    await enqueue(1);
    const before = await used();
    await enqueue(tasks);
    const queued = ((await used()) - before) / tasks;
    await session.worker.ask({ do: 'drain', n: tasks + 1, concurrency: 100 });
    const worker = peakOf(session.worker.pid);
    await session.verify(tasks + 1, tasks + 1);
    return { values: worker === undefined ? { queued } : { queued, worker } };
  },
};

/** Megabytes. */
function peakOf(pid: number): number | undefined {
  try {
    const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return kilobytes === undefined ? undefined : Number(kilobytes) / 1_024;
  } catch {
    return undefined;
  }
}
