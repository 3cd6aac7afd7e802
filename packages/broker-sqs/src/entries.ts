// Messages as SQS has them: the body, what delays and groups it, and attributes of which only this broker knows.

import { createHash } from 'node:crypto';
import { MachineryError, type Message, NotSupportedError, type Signature } from '@machinery/core';
import { type Attributes, bytesOf, escapeRefused, textAttribute } from './bodies.ts';
import { nextHop } from './delays.ts';
import type { Queue } from './queues.ts';

/** What the queue's clock may not make early, in Unix milliseconds. */
export const dueAtAttribute = 'machinery-due-at';
/** The queue that a message in the delay queue is for. */
export const queueAttribute = 'machinery-queue';
/** On a copy of what was delivered before. */
export const redeliveredAttribute = 'machinery-redelivered';
/** Why a message is dead. */
export const deadReasonAttribute = 'machinery-dead-reason';

/** A message to send to one queue. */
export interface Entry {
  readonly body: string;
  readonly attributes: Attributes;
  readonly bytes: number;
  readonly delaySeconds?: number;
  readonly groupId?: string;
  readonly deduplicationId?: string;
  /** For errors. */
  readonly what: string;
}

/** Where a message goes first. */
export interface Route {
  readonly queue: Queue;
  readonly entry: Entry;
}

export interface Routing {
  /** The queue of the message. */
  readonly queue: Queue;
  /** Asked for when it is due later than SQS delays. */
  readonly delayQueue: () => Promise<Queue | undefined>;
}

/** @throws MachineryError what cannot be sent to this queue. */
export async function routeOf(message: Message, { queue, delayQueue }: Routing): Promise<Route> {
  const { signature, dueAtMs = 0 } = message;
  const body = escapeRefused(message.body);
  const isDelayed = dueAtMs > Date.now();
  const attributes = isDelayed ? { [dueAtAttribute]: textAttribute(String(dueAtMs)) } : {};
  if (queue.isFifo) {
    if (isDelayed && !isLaterAttempt(signature))
      throw new NotSupportedError(
        '@machinery/broker-sqs',
        `ETAs on FIFO queues, which SQS cannot delay: ${textOf(signature)}`,
      );
    return { queue, entry: entryOf(signature, body, attributes, groupOf(signature, queue)) };
  }
  if (!isDelayed) return { queue, entry: entryOf(signature, body, attributes) };
  const { to, delaySeconds } = nextHop(dueAtMs, Date.now());
  if (to === 'its queue') return { queue, entry: entryOf(signature, body, attributes, { delaySeconds }) };
  const holding = await delayQueue();
  if (holding === undefined)
    throw new NotSupportedError(
      '@machinery/broker-sqs',
      `ETAs more than 15 minutes away without the option \`delayQueue\`: ${textOf(signature)}`,
    );
  const more = { ...attributes, [queueAttribute]: textAttribute(queue.name) };
  return { queue: holding, entry: entryOf(signature, body, more, { delaySeconds }) };
}

function entryOf(signature: Signature, body: string, attributes: Attributes, more: Partial<Entry> = {}): Entry {
  return { body, attributes, bytes: bytesOf(body, attributes), what: textOf(signature), ...more };
}

/** Go: BrokerMessageGroupId and UUID. A later attempt has the same UUID, and would be swallowed for five minutes. */
function groupOf(signature: Signature, { name }: Queue): Partial<Entry> {
  const { brokerMessageGroupId: groupId, uuid = '', headers } = signature;
  if (groupId === undefined || !isId(groupId))
    throw new MachineryError(
      'ERR_MACHINERY_INVALID_SIGNATURE',
      `${textOf(signature)} needs a \`brokerMessageGroupId\` of 1 to 128 ASCII characters without spaces, since ${name} is a FIFO queue`,
    );
  const id = isLaterAttempt(signature) ? `${uuid}-${headers?.[attemptHeader]}` : uuid;
  return { groupId, deduplicationId: deduplicationIdOf(id) };
}

/** What SQS takes for IDs: 128 letters, digits and signs of ASCII. */
function isId(text: string): boolean {
  return /^[!-~]{1,128}$/.test(text);
}

function deduplicationIdOf(text: string): string {
  return isId(text) ? text : createHash('sha256').update(text).digest('hex');
}

const attemptHeader = 'machinery-attempt';

/** A retry, whose ETA is core's. */
function isLaterAttempt({ headers }: Signature): boolean {
  return Number(headers?.[attemptHeader] ?? 1) > 1;
}

function textOf({ name, uuid }: Signature): string {
  return `task ${name}${uuid === undefined ? '' : ` (${uuid})`}`;
}
