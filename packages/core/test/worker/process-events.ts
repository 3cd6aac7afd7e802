// Vitest fails a run in which a promise is left rejected. While a test looks at what a worker makes of such promises,
// the runner's own listeners are away.

import { onTestFinished } from 'vitest';
import { Journal } from './journal.ts';

const events = ['unhandledRejection', 'uncaughtException'] as const;

/** Takes the runner's listeners away for this test; answers what no worker has claimed. */
export function watchProcess(): Journal<unknown> {
  const escaped = new Journal<unknown>();
  const before = events.map((event) => [event, process.rawListeners(event)] as const);
  for (const event of events) process.removeAllListeners(event);
  // Registered so that a worker's guard sees another listener and leaves the process alone.
  const onException = (error: unknown) => escaped.add(error);
  process.on('uncaughtException', onException).on('unhandledRejection', onException);
  onTestFinished(() => {
    process.off('uncaughtException', onException).off('unhandledRejection', onException);
    for (const [event, listeners] of before)
      for (const listener of listeners) process.on(event as 'uncaughtException', listener as () => void);
  });
  return escaped;
}
