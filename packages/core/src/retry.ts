// When and as what a failed attempt is tried again. Pure: `processor.ts` stores and publishes what is decided here.

import type { Clock } from './clock.ts';
import { header } from './headers.ts';
import { checkOptions, number, optional } from './options.ts';
import type { Signature } from './signature.ts';
import { encodeTime, lastTimeMs } from './wire/time.ts';

/** How long a failed attempt waits: `delayMs`, times `factor` (default 2) after each further failure, `maxDelayMs` at most. */
export interface Backoff {
  readonly delayMs: number;
  readonly factor?: number;
  readonly maxDelayMs?: number;
  /** Up to this share of the wait is left out at random: 0 (the default) to 1. */
  readonly jitter?: number;
}

/** The fields of a Backoff. */
export const backoffChecks = {
  delayMs: number({ min: 0 }),
  factor: optional(number({ min: 1 })),
  maxDelayMs: optional(number({ min: 0 })),
  jitter: optional(number({ min: 0, max: 1 })),
};

/** A worker's own rule for the wait before the next attempt, in milliseconds. `attempt` is the one that failed, from 1. */
export type BackoffFunction = (attempt: number, error: unknown) => number;

/** The next Fibonacci number greater than `n`: 1, 2, 3, 5, 8 … Go: retry.FibonacciNext. */
function nextFibonacci(n: number): number {
  let [a, b] = [1, 2];
  while (a <= n) [a, b] = [b, a + b];
  return a;
}

/** Which attempt the message is, from 1. */
export function attemptOf(signature: Signature): number {
  const attempt = Number(signature.headers?.[header.attempt] ?? 1);
  return Number.isSafeInteger(attempt) && attempt >= 1 ? attempt : 1;
}

/** How long a failed attempt waits, in milliseconds: the handler's rule, else the signature's, else Go's. */
export function retryDelayMs(
  signature: Signature,
  error: unknown,
  rule: Backoff | BackoffFunction | undefined,
): number {
  const attempt = attemptOf(signature);
  if (typeof rule === 'function') {
    const delayMs = rule(attempt, error);
    if (number({ min: 0 })(delayMs) === undefined) return delayMs;
    throw new TypeError(
      `Expected the backoff of task ${signature.name} to be a number of milliseconds >= 0, got \`${String(delayMs)}\``,
    );
  }
  const backoff = rule ?? backoffOf(signature);
  if (backoff === undefined) return nextFibonacci(signature.retryTimeout ?? 0) * 1_000;
  const { delayMs, factor = 2, maxDelayMs = Number.POSITIVE_INFINITY, jitter = 0 } = backoff;
  return Math.min(maxDelayMs, delayMs * factor ** Math.min(attempt - 1, 500)) * (1 - Math.random() * jitter);
}

/** The message of the next attempt: one less retry to come, unless the task asked to run later. Deterministic, so that it can be made again. */
export function nextAttempt(signature: Signature, eta: string, usesRetry: boolean): Signature {
  return {
    ...signature,
    eta,
    ...(usesRetry && {
      retryCount: (signature.retryCount ?? 0) - 1,
      retryTimeout: nextFibonacci(signature.retryTimeout ?? 0),
    }),
    headers: { ...signature.headers, [header.attempt]: String(attemptOf(signature) + 1) },
  };
}

/** The time `delayMs` from now, rounded up to a whole millisecond, as it travels. */
export function etaAfter(delayMs: number, clock: Clock): string {
  return encodeTime(new Date(Math.min(clock.now() + Math.ceil(delayMs), lastTimeMs)));
}

/** A positive number of milliseconds from a header; undefined when it is absent or is no such number. */
export function timeoutOf(signature: Signature): number | undefined {
  const timeoutMs = Number(signature.headers?.[header.timeoutMs] ?? Number.NaN);
  return timeoutMs > 0 && timeoutMs < 2 ** 31 ? timeoutMs : undefined;
}

/** Whoever wrote the header, a broken one means Go's rule and never an endless or a hot loop. */
function backoffOf(signature: Signature): Backoff | undefined {
  const text = signature.headers?.[header.backoff];
  if (typeof text !== 'string') return undefined;
  try {
    const backoff = JSON.parse(text) as Backoff;
    checkOptions('backoff', backoff, backoffChecks);
    return backoff;
  } catch {
    return undefined;
  }
}
