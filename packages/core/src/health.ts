// What probes ask: whether servers answer, and whether workers take messages.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend } from './backend.ts';
import type { Broker } from './broker.ts';
import { errorText } from './errors.ts';
import { newUuid } from './uuid.ts';

export interface WorkerHealth {
  readonly consumerTag: string;
  readonly queue: string;
  /** The broker answered when it was asked last. False before the worker has started, and while the broker is away. */
  readonly connected: boolean;
  /** It is connected and takes messages: neither paused nor stopping. */
  readonly consuming: boolean;
  /** How many messages it has in hand. */
  readonly inHand: number;
  /** When a task of its last succeeded, Unix milliseconds; undefined: none has. */
  readonly lastSuccessAt: number | undefined;
}

export interface AdapterHealth {
  /** Its package. */
  readonly name: string;
  /** undefined: it cannot be asked. */
  readonly connected: boolean | undefined;
  /** Why it is not connected. */
  readonly error?: string;
}

export interface ServerHealth {
  /** Whatever can be asked answers, and every worker that should consume is connected. */
  readonly ok: boolean;
  readonly broker: AdapterHealth;
  readonly backend: AdapterHealth;
  /** Those that are not stopped. */
  readonly workers: readonly WorkerHealth[];
}

/** Asks broker and backend at once; what does not answer in time is not connected. Never rejects. */
export async function adaptersHealth(
  broker: Broker,
  backend: Backend,
  timeoutMs: number,
): Promise<readonly [broker: AdapterHealth, backend: AdapterHealth]> {
  const { storesResults, readConsumes = false } = backend.capabilities;
  return Promise.all([
    healthOf(broker.name, broker.ping && (() => broker.ping?.()), timeoutMs),
    healthOf(
      backend.name,
      storesResults && !readConsumes ? () => backend.read([newUuid('task')]) : undefined,
      timeoutMs,
    ),
  ]);
}

async function healthOf(
  name: string,
  ask: (() => Promise<unknown> | undefined) | undefined,
  timeoutMs: number,
): Promise<AdapterHealth> {
  if (ask === undefined) return { name, connected: undefined };
  const over = new AbortController();
  const late = sleep(timeoutMs, 'late', { signal: over.signal }).catch(() => 'late');
  try {
    const answer = await Promise.race([ask(), late]);
    if (answer !== 'late') return { name, connected: true };
    return { name, connected: false, error: `It has not answered in ${timeoutMs} ms` };
  } catch (error) {
    return { name, connected: false, error: errorText(error) };
  } finally {
    over.abort();
  }
}
