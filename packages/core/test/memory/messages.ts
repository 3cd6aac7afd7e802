// What the tests of this folder publish and ask for.

import type { Consumer, Delivery, Message, Settlement } from '../../src/broker.ts';
import type { Outcome } from '../../src/outcome.ts';

export function message(body: string, extra: { queue?: string; dueAtMs?: number } = {}): Message {
  const { queue = 'q', dueAtMs } = extra;
  return { body, routingKey: queue, signature: { name: 'add', uuid: body }, ...(dueAtMs !== undefined && { dueAtMs }) };
}

export const options = (queue = 'q') => ({ queue, tag: 'worker', slots: 50, maxInHand: 100 });

/** A signal that never aborts. */
export const never = new AbortController().signal;

export const bodies = (deliveries: readonly Delivery[]) => deliveries.map(({ body }) => body);

export const ack = (delivery: Delivery): Settlement => ({ kind: 'ack', delivery });

export const dead = (delivery: Delivery, reason: string): Settlement => ({ kind: 'dead', delivery, reason });

export const requeue = (delivery: Delivery, position: 'front' | 'back', delayMs = 0): Settlement =>
  position === 'front' ? { kind: 'requeue', delivery, position } : { kind: 'requeue', delivery, position, delayMs };

/** What there is now, without waiting for more. */
export async function takeNow(consumer: Consumer, want: number): Promise<Delivery[]> {
  const abort = new AbortController();
  const taken = consumer.exchange([], want, abort.signal);
  // What waits is handed out in a microtask; an exchange that is not answered after a turn of the loop finds nothing.
  await new Promise((resolve) => setImmediate(resolve));
  abort.abort();
  return taken;
}

/** An outcome as `stored`, or its error's code with `, retryable`. */
export function summary(outcome: Outcome): string {
  if (outcome.status === 'stored') return 'stored';
  const code = (outcome.error as Error & { code?: string }).code ?? outcome.error.message;
  return outcome.status === 'failed' && outcome.retryable ? `${code}, retryable` : code;
}

/** How many timers keep this process alive. */
export const livingTimers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
