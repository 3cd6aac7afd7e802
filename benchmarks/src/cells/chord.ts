// Send a chord, run it, and await the callback's result. A round's number is the median of several chords.

import { TimedOut } from '../peer.ts';
import { median } from '../report/statistics.ts';
import type { Session } from '../session.ts';
import type { Cell, Outcome, Timed } from './cell.ts';

export const chords: readonly Cell[] = [10, 100, 1_000, 10_000].map((size) => ({
  name: `chord-${size}`,
  title: `chord of ${size.toLocaleString('en')}`,
  metrics: [{ key: 'ms', title: '', unit: 'ms', better: 'less' }],
  run: (session) => measure(session, size),
}));

async function measure(session: Session, size: number): Promise<Outcome> {
  const { chords: repeats, limitMs, warmUp } = session.sizes;
  const warmUntil = performance.now() + limitMs.warmUp;
  const end = performance.now() + limitMs.chord;
  const times: number[] = [];
  let members = 0;
  const send = (of: number) => {
    members += of;
    return session.sender.ask<Timed>({ do: 'chord', size: of }, limitMs.chord);
  };
  await session.worker.ask({ do: 'work', concurrency: 100 });
  try {
    while (members < warmUp && performance.now() < warmUntil) await send(Math.min(size, 100));
    while (times.length < (repeats[size] ?? 1) && (times.length === 0 || performance.now() < end))
      times.push((await send(size)).ms);
    const { length: ran } = await session.runs();
    if (ran !== members) throw new Error(`${ran} runs of ${members} members`);
  } catch (error) {
    if (!(error instanceof TimedOut)) throw error;
    if (times.length === 0) return { values: { ms: limitMs.chord }, atLeast: ['ms'] };
  }
  return { values: { ms: median(times) } };
}
