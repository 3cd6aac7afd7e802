// How a delay is kept: SQS delays a message by whole seconds, 15 minutes at most. What is due later waits in the delay queue and
// hops: each hop hides it for up to 15 minutes, and the last one sends it to its own queue, which hides it until it is due. So a hop need not be
// taken in the moment it can be, and Go's workers, which do not look at the ETA, never see a message early.

/** The service's limit for DelaySeconds. */
export const maxDelaySeconds = 900;
/** A hop ends at least this long before the message is due, so that whoever moves it may come late. */
const spareSeconds = 840;

/** Where a message waits next, and for how long. */
export interface Hop {
  readonly to: 'its queue' | 'the delay queue';
  readonly delaySeconds: number;
}

/** Rounded up, so that nothing is early. Go truncates. */
export function nextHop(dueAtMs: number, nowMs: number): Hop {
  const seconds = Math.max(0, Math.ceil((dueAtMs - nowMs) / 1_000));
  if (seconds <= maxDelaySeconds) return { to: 'its queue', delaySeconds: seconds };
  return { to: 'the delay queue', delaySeconds: Math.min(maxDelaySeconds, seconds - spareSeconds) };
}
