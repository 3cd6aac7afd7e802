// The tasks, known to who sends and who runs them. Each returns its name with what it was given, `c(b(a()))`, so that a
// result tells what ran before it, in which order.

import { defineTask, rest, string } from '@machinery/core';

export const join = defineTask('join', { args: rest(string), returns: string });
/** Fails the first time. */
export const retried = defineTask('retried', {
  args: rest(string),
  returns: string,
  retries: 1,
  backoff: { delayMs: 100 },
});

export function joined(name: string, parts: readonly string[] = []): string {
  return `${name}(${parts.join(',')})`;
}
