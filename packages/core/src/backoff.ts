// Trying again what failed because a server was away: exponential waits with jitter, logged once, ended by a signal.

import { setMaxListeners } from 'node:events';
import { MachineryError } from './errors.ts';

/** The wait before try number `attempt` (from 1), in milliseconds: 100 ms doubling up to 5 s, of which up to a half is left out at random. */
export function reconnectDelayMs(attempt: number): number {
  return Math.min(5_000, 100 * 2 ** Math.min(attempt - 1, 10)) * (0.5 + Math.random() / 2);
}

/** Resolves after `delayMs`, or at once when `signal` aborts. Holds the process: somebody waits for what comes after. */
export function sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, delayMs);
    signal?.addEventListener('abort', end);
  });
}

/**
 * Calls `attempt` until it answers; what it throws is waited out. `onFirstFailure` is told of the first error only.
 * @throws MachineryError ERR_MACHINERY_ABORTED when `signal` aborts while waiting.
 */
export async function untilDone<T>(
  attempt: () => Promise<T>,
  signal: AbortSignal,
  onFirstFailure: (error: unknown) => void,
): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      if (failures === 1) onFirstFailure(error);
      await sleep(reconnectDelayMs(failures), signal);
      if (signal.aborted)
        throw new MachineryError('ERR_MACHINERY_ABORTED', 'Stopped while waiting for a server to come back', {
          cause: error,
        });
    }
  }
}

/** A controller whose signal many listen to at once: Node 20 would warn of a leak. */
export function sharedAbortController(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}
