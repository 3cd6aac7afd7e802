// Tasks that fail in four ways, and what their contracts say about it.

import { setTimeout as wait } from 'node:timers/promises';
import { defineTask, float64, int64, RetryLater, type Server, string, UnrecoverableError } from '@machinery/core';

/** Tried again up to three times, after 50, 100 and 200 ms or up to a fifth less. Without a `backoff`: after 1, 2 and 3 seconds. */
export const fetchRate = defineTask('fetch_rate', {
  args: [string],
  returns: float64,
  retries: 3,
  backoff: { delayMs: 50, jitter: 0.2 },
});
export const charge = defineTask('charge', { args: [int64], returns: string, retries: 3 });
export const collectReport = defineTask('collect_report', { returns: string });
/** Each attempt has 100 ms. */
export const slowQuery = defineTask('slow_query', { timeoutMs: 100, retries: 1, backoff: { delayMs: 50 } });
/** As an error callback, it gets the text of the error. */
export const alarm = defineTask('alarm', { args: [string] });

export function register(server: Server): void {
  // Whatever a handler throws, it is tried again.
  server.handle(fetchRate, (task, currency) => {
    console.log(`${task.signature.name} ${currency}: attempt ${task.attempt}`);
    if (task.attempt < 3) throw new Error('The bank is away');
    return 1.08;
  });

  // But not what no further attempt can help.
  server.handle(charge, (task, cents) => {
    console.log(`${task.signature.name} ${cents}: attempt ${task.attempt}`);
    throw new UnrecoverableError('The card has expired');
  });

  // To look again later is no failure, and uses up no retry.
  server.handle(collectReport, (task) => {
    console.log(`${task.signature.name}: attempt ${task.attempt}`);
    if (task.attempt < 3) throw new RetryLater(50);
    return 'the report';
  });

  // JavaScript cannot stop a handler: what is given the signal stops by itself.
  server.handle(slowQuery, async (task) => {
    console.log(`${task.signature.name}: attempt ${task.attempt}`);
    await wait(60_000, undefined, { signal: task.signal });
  });

  server.handle(alarm, (_task, text) => console.log(`ALARM: ${text}`));
}
