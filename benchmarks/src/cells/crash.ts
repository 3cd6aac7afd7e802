// A worker is killed when half of its tasks are done, and another starts at once.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Report } from '../peer.ts';
import type { Cell } from './cell.ts';

export const crash: Cell = {
  name: 'crash',
  title: 'crash',
  beside: true,
  slow: true,
  metrics: [
    { key: 'lost', title: 'lost, or not done in time', unit: 'tasks', better: 'less' },
    { key: 'again', title: 'begun again', unit: 'tasks', better: 'less' },
    { key: 'twice', title: 'done twice', unit: 'tasks', better: 'less' },
    { key: 'seconds', title: 'kill → all done', unit: 's', better: 'less' },
  ],
  async run(session) {
    const { tasks: n, taskMs } = session.sizes.crash;
    const began: number[] = [];
    const ended: number[] = [];
    const done = new Set<number>();
    const half = withResolvers();
    const onReport = ({ report, a }: Report) => {
      if (report === 'began') return void began.push(a);
      ended.push(a);
      if (done.add(a).size === n >> 1) half.resolve();
    };
    const work = { do: 'work', concurrency: 100, taskMs, report: true };

    await session.sender.ask({ do: 'enqueue', mode: 'flight', n });
    const [victim, heir] = [session.newPeer(), session.newPeer()];
    victim.onReport = heir.onReport = onReport;
    await heir.ask({ do: 'hello' });
    await victim.ask(work);
    await half.promise;
    const killedAt = performance.now();
    await victim.kill();
    await heir.ask(work);

    const elapsed = () => performance.now() - killedAt;
    const { crash: limit } = session.sizes.limitMs;
    while (done.size < n && elapsed() < limit) await sleep(10);
    const seconds = elapsed() / 1_000;
    await sleep(1_000); // until what ended is stored, and what runs twice has begun
    const { stored } = await session.sender.ask<{ stored: number }>({ do: 'check' });
    const values = {
      lost: n - stored,
      again: began.length - new Set(began).size,
      twice: ended.length - done.size,
      seconds,
    };
    return done.size < n ? { values, atLeast: ['seconds'] } : { values };
  },
};

/** Node 20 has no Promise.withResolvers. */
function withResolvers(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
