// Commands that Redis runs for a task, from send to the last, and for an idle worker: INFO commandstats, those of scripts included.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Session } from '../session.ts';
import type { Cell, Metric } from './cell.ts';

const concurrencies = [1, 10, 100];

export const commands: Cell = {
  name: 'commands',
  title: 'Redis commands',
  metrics: [
    ...concurrencies.map(
      (c): Metric => ({ key: `c${c}`, title: `a task, concurrency ${c}`, unit: '', better: 'less' }),
    ),
    { key: 'idle', title: 'idle worker', unit: '/s', better: 'less' },
  ],
  async run(session) {
    const { tasks, idleMs } = session.sizes;
    const values: Record<string, number> = {};
    for (const concurrency of concurrencies) {
      const count = await countOf(session, async () => {
        await session.sender.ask({ do: 'enqueue', mode: 'flight', n: tasks });
        await session.worker.ask({ do: 'drain', n: tasks, concurrency });
      });
      await session.worker.ask({ do: 'stop' });
      values[`c${concurrency}`] = count / tasks;
    }
    await session.verify(tasks * concurrencies.length);
    await session.worker.ask({ do: 'work', concurrency: 10 });
    await sleep(500);
    values.idle = (await countOf(session, () => sleep(idleMs))) / (idleMs / 1_000);
    return { values };
  },
};

async function countOf(session: Session, work: () => Promise<unknown>): Promise<number> {
  await session.redis.config('RESETSTAT');
  await work();
  let count = 0;
  for (const [, name = '', calls] of (await session.redis.info('commandstats')).matchAll(
    /^cmdstat_(\S+?):calls=(\d+)/gm,
  ))
    if (!/^(?:config|info)/.test(name)) count += Number(calls);
  return count;
}
