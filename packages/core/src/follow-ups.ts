// What is sent when a task has ended: its success or error callbacks. They are published before the task's message is
// acked, so that a chain never ends silently; on a redelivery only what is missing is sent.

import { createHash } from 'node:crypto';
import { errorText } from './errors.ts';
import { header } from './headers.ts';
import type { Logger } from './logger.ts';
import type { Outcome } from './outcome.ts';
import type { Sendable, Sender } from './sender.ts';
import type { Arg, Signature } from './signature.ts';
import type { TaskResult, TaskState } from './task-state.ts';

export interface FollowUpPorts {
  readonly sender: Sender;
  readonly logger: Logger;
  /** Reads states, waiting out a backend that is away. Undefined where reading a state takes it away. */
  readonly read: ((taskUuids: readonly string[]) => Promise<(TaskState | undefined)[]>) | undefined;
  /** Calls until the outcome is `stored` or can never be, waiting out a server that is away. */
  readonly persist: (call: () => Promise<Outcome>) => Promise<Outcome>;
  /** Stores FAILURE for a callback that can never be sent. */
  readonly fail: (signature: Sendable, error: Error) => Promise<void>;
}

/** Success callbacks get the results as their last arguments, unless the finished task is immutable. */
export function successCallbacks(signature: Signature, results: readonly TaskResult[]): Signature[] {
  const appended: readonly Arg[] = signature.immutable === true ? [] : results;
  return (signature.onSuccess ?? []).map((callback, i) => ({
    ...callback,
    uuid: callback.uuid || derivedUuid(signature, 'success', i),
    args: [...(callback.args ?? []), ...appended],
  }));
}

/** Error callbacks get the error's text as their first argument. */
export function errorCallbacks(signature: Signature, error: string): Signature[] {
  return (signature.onError ?? []).map((callback, i) => ({
    ...callback,
    uuid: callback.uuid || derivedUuid(signature, 'error', i),
    args: [{ type: 'string', value: error }, ...(callback.args ?? [])],
  }));
}

/**
 * Sends callbacks. `again`: the task had ended before and its message came back, so those that went out already, or are
 * further than PENDING, are left alone, and a PENDING that is there is not written again.
 */
export async function sendFollowUps(
  ports: FollowUpPorts,
  callbacks: readonly Signature[],
  again: boolean,
): Promise<void> {
  const sendables = callbacks.map((callback) => ports.sender.complete(callback));
  const states = again && ports.read !== undefined ? await ports.read(sendables.map(({ uuid }) => uuid)) : [];
  await Promise.all(sendables.map((callback, i) => sendOne(ports, callback, states[i])));
}

async function sendOne(ports: FollowUpPorts, callback: Sendable, state: TaskState | undefined): Promise<void> {
  if (state !== undefined && state.state !== 'PENDING') return;
  const { sender } = ports;
  let message = state === undefined ? undefined : sentWhen(callback, state);
  const outcome = await ports.persist(async () => {
    if (message !== undefined) return sender.republish(message);
    const sent = await sender.send(callback);
    // It may be out, and even done: PENDING must not be written over that.
    if (sent.status === 'unknown') message = callback;
    return sent;
  });
  if (outcome.status !== 'failed') return;
  const { error } = outcome;
  const text = `Callback ${callback.name} (${callback.uuid}) can never be sent and is marked as failed: ${errorText(error)}`;
  ports.logger.error(text, error);
  await ports.fail(callback, error);
}

/** The message says what its PENDING says: they are one send. */
function sentWhen(callback: Sendable, { createdAt }: TaskState): Sendable {
  return createdAt === undefined
    ? callback
    : { ...callback, headers: { ...callback.headers, [header.sentAt]: createdAt } };
}

/** The same callback of the same task always gets the same UUID, so that a redelivery finds what it sent before. */
function derivedUuid(parent: Signature, kind: string, place: number): string {
  const hash = createHash('sha256').update(`${parent.uuid}/${kind}/${place}`).digest('hex');
  return `task_${hash.slice(0, 8)}-${hash.slice(8, 12)}-8${hash.slice(13, 16)}-a${hash.slice(17, 20)}-${hash.slice(20, 32)}`;
}
