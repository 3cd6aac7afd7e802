// What comes of calls whose servers may be away.

import { setTimeout as sleep } from 'node:timers/promises';

/** What a call came to, and how long it took in milliseconds. */
export async function outcome(call: Promise<unknown>) {
  const from = performance.now();
  const tookMs = () => performance.now() - from;
  try {
    return { answer: await call, tookMs: tookMs() };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return { code, message, tookMs: tookMs() };
  }
}

/** Asks until it is so, for ten seconds. */
export async function until(ask: () => unknown): Promise<void> {
  const from = performance.now();
  for (;;) {
    let last: unknown;
    try {
      last = await ask();
    } catch (error) {
      last = error;
    }
    if (last === true) return;
    if (performance.now() - from > 10_000) throw new Error(`It is never so: ${String(last)}`);
    await sleep(10);
  }
}
