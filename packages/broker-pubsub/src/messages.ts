// Messages as Pub/Sub has them: the body is the data, and attributes say what only this broker reads. Go's workers ignore them.

import type { protos } from '@google-cloud/pubsub';
import { decodeSignature, type Message } from '@machinery/core';

export type PubsubMessage = protos.google.pubsub.v1.IPubsubMessage;

/** Unix milliseconds as text, on what is delayed. */
const dueAtAttribute = 'machinery-due-at';
/** `1` on a copy of what may have begun. */
const redeliveredAttribute = 'machinery-redelivered';
/** Why a message is dead. */
export const deadReasonAttribute = 'machinery-dead-reason';

/** The server's limit of an attribute's value and of an ordering key, in bytes. */
const maxTextBytes = 1_024;

export function messageOf({ body, dueAtMs, signature }: Message): PubsubMessage {
  const { brokerMessageGroupId: orderingKey } = signature;
  return {
    data: Buffer.from(body),
    ...(orderingKey !== undefined && orderingKey !== '' && { orderingKey }),
    ...(dueAtMs !== undefined && dueAtMs > Date.now() && { attributes: { [dueAtAttribute]: String(dueAtMs) } }),
  };
}

/** Another message with the same content. */
export function copyOf({ data, attributes, orderingKey }: PubsubMessage, more: Readonly<Record<string, string>> = {}) {
  return { data, attributes: { ...attributes, ...more }, ...(orderingKey && { orderingKey }) } as PubsubMessage;
}

/** A copy of what may have begun. */
export function markedCopyOf(message: PubsubMessage): PubsubMessage {
  return copyOf(message, { [redeliveredAttribute]: '1' });
}

export function isMarked({ attributes }: PubsubMessage): boolean {
  return attributes?.[redeliveredAttribute] !== undefined;
}

/** How long ago it was published, in milliseconds, as far as the clocks of this machine and of the server agree. */
export function ageMsOf({ publishTime }: PubsubMessage): number {
  const { seconds, nanos } = publishTime ?? {};
  return Date.now() - Number(seconds ?? 0) * 1_000 - (nanos ?? 0) / 1_000_000;
}

/** When it is due, Unix milliseconds. What this project did not publish says it in its signature only. */
export function dueAtOf(body: string, { attributes }: PubsubMessage): number {
  const dueAt = attributes?.[dueAtAttribute];
  if (dueAt !== undefined) return Number(dueAt) || 0;
  if (!/"ETA"\s*:\s*"/.test(body)) return 0;
  try {
    const { eta } = decodeSignature(body);
    return eta === undefined ? 0 : new Date(eta).getTime() || 0;
  } catch {
    return 0; // core says what is wrong with it
  }
}

export function isOrderingKeyTooLong({ orderingKey }: PubsubMessage): boolean {
  return Buffer.byteLength(orderingKey ?? '') > maxTextBytes;
}

/** As much of a reason as an attribute holds. */
export function reasonText(reason: string): string {
  if (Buffer.byteLength(reason) <= maxTextBytes) return reason;
  return `${Buffer.from(reason)
    .subarray(0, maxTextBytes - 6)
    .toString()
    .replace(/\ufffd+$/, '')}…`;
}
