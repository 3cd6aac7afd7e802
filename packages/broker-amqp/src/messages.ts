// Messages as AMQP has them: persistent JSON, with the signature's headers and priority, and what of ours only this broker reads.

import type { Message } from '@machinery/core';
import type { MessagePropertyHeaders, Options } from 'amqplib';
import type { DelayedRoute } from './delays.ts';

/** Unix milliseconds as text, on what is delayed: a server's clock that is set must not make it early. */
export const dueAtHeader = 'machinery-due-at';
/** `1` on a copy that was put to the end of the queue, of what was a redelivery. */
export const redeliveredHeader = 'machinery-redelivered';
/** Why a message is dead. */
export const deadReasonHeader = 'machinery-dead-reason';

/** What the server writes on its way, and what the ladder has read: a copy with these would be taken for one that goes round. */
const ofTheWay = /^(?:x-|machinery-delay-|machinery-due-at$|machinery-dead-reason$|CC$|BCC$)/;

/** The most characters of a reason: headers have to fit in a frame. */
const maxReasonLength = 4_000;

export function propertiesOf({ signature, dueAtMs }: Message): Options.Publish {
  const { headers = {}, priority = 0 } = signature;
  const isDelayed = dueAtMs !== undefined && dueAtMs > Date.now();
  return {
    contentType: 'application/json',
    persistent: true,
    ...(priority > 0 && { priority }),
    headers: { ...writable(headers), ...(isDelayed && { [dueAtHeader]: String(dueAtMs) }) },
  };
}

/** Of a copy of a message. */
export function copiedProperties(
  {
    headers = {},
    priority,
    contentType,
  }: { headers?: MessagePropertyHeaders | undefined; priority?: unknown; contentType?: unknown },
  more: Readonly<Record<string, string>>,
): Options.Publish {
  const kept = Object.entries(headers).filter(([name]) => !ofTheWay.test(name));
  return {
    contentType: typeof contentType === 'string' ? contentType : 'application/json',
    persistent: true,
    ...(typeof priority === 'number' && priority > 0 && { priority }),
    headers: { ...Object.fromEntries(kept), ...more },
  };
}

/** The same, on its way through a delay. */
export function delayed(properties: Options.Publish, { headers, expirationMs }: DelayedRoute): Options.Publish {
  return {
    ...properties,
    headers: { ...properties.headers, ...headers },
    ...(expirationMs !== undefined && { expiration: String(expirationMs) }),
  };
}

export function reasonText(reason: string): string {
  return reason.length > maxReasonLength ? `${reason.slice(0, maxReasonLength)}…` : reason;
}

/** RabbitMQ reads these, and closes the channel of all others' messages if they are no lists. Their place is in the body. */
const ofTheServer = new Set(['CC', 'BCC']);

/** AMQP has no type for a bigint beyond 64 bits or a symbol, and Go's client refuses `null` in lists: text says the same. */
function writable(headers: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(headers)
      .filter(([name]) => !ofTheServer.has(name))
      .map(([name, value]) => [name, isPlain(value) ? value : textOf(value)]),
  );
}

function isPlain(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number';
}

function textOf(value: unknown): string {
  if (typeof value === 'bigint') return String(value);
  return JSON.stringify(value, (_, one) => (typeof one === 'bigint' ? String(one) : one)) ?? String(value);
}
