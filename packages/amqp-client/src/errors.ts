// What an error of AMQP means to core: whether trying again may help, and what to do where it cannot.

import { errorText, MachineryError } from '@machinery/core';

/** Reply codes of the server that no second try changes: no rights, not there, locked, other arguments, wrong vhost, unknown type. */
const refused = new Set([402, 403, 404, 405, 406, 503, 530, 540]);

/** The server's reply code, which a handshake that failed has in its text only. */
export function replyCode(error: unknown): number | undefined {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: string };
  if (typeof code === 'number') return code;
  const [, digits] = /^Handshake terminated by server: (\d{3})\b/.exec(message ?? '') ?? [];
  return digits === undefined ? undefined : Number(digits);
}

/** There is no such queue or exchange: one whose node is away is there. */
export function isMissing(error: unknown): boolean {
  const cause = causeOf(error);
  return replyCode(cause) === 404 && !passes(errorText(cause));
}

/** It is there, with another argument. */
export function isRefusedArgument(error: unknown): boolean {
  return replyCode(causeOf(error)) === 406;
}

/** Another connection has it to itself. */
export function isInUse(error: unknown): boolean {
  const cause = causeOf(error);
  const code = replyCode(cause);
  return code === 405 || (code === 403 && /in exclusive use/.test(errorText(cause)));
}

/** A driver's error as core's: `…_FAILED` for what the server refused for good, `…_UNAVAILABLE` for everything else. */
export function amqpError(role: 'backend' | 'broker', doing: string, cause: unknown): MachineryError {
  if (MachineryError.is(cause)) return cause;
  const code = replyCode(cause);
  const isRefused = isUnwritable(cause) || (code !== undefined && refused.has(code) && !passes(errorText(cause)));
  const kind = isRefused ? 'FAILED' : 'UNAVAILABLE';
  const name =
    role === 'broker' ? (`ERR_MACHINERY_BROKER_${kind}` as const) : (`ERR_MACHINERY_BACKEND_${kind}` as const);
  return new MachineryError(name, `RabbitMQ could not ${doing}: ${explained(code, errorText(cause))}`, { cause });
}

/** amqplib cannot write it: a name of more than 255 bytes, or an argument that AMQP has no type for. */
function isUnwritable(cause: unknown): boolean {
  return (
    cause instanceof RangeError ||
    (cause instanceof TypeError && /^(?:Field '|Unknown type to encode|Decimal value)/.test(cause.message))
  );
}

/** What passes, although its code is one of what is refused for good. */
function passes(text: string): boolean {
  return passing.some((one) => one.test(text));
}

const passing = [
  /limit \(\d+\) is reached|has reached the/i, // of connections
  /home node|is down or inaccessible|stopped by supervisor|has crashed|timed out|due to timeout/i, // a queue whose node is away or stops
  /delivery acknowledgement/i, // came too late
];

function explained(code: number | undefined, text: string): string {
  const plain = text.replace(/^(?:Operation failed: \w+; |Channel closed by server: |Connection closed: )/, '');
  if (/delivery acknowledgement/.test(text))
    return `${plain}. A task ran for longer than the server's consumer_timeout (30 minutes by default) and its message is delivered again: raise consumer_timeout in rabbitmq.conf, or the queue's x-consumer-timeout`;
  const [, argument, kind, name] = /inequivalent arg '([^']+)' for (queue|exchange) '([^']+)'/.exec(text) ?? [];
  if (name !== undefined)
    return `${kind} ${name} is there with another argument \`${argument}\` (${plain}). Give the adapter the argument that it has, or delete the ${kind}`;
  if (/x-delayed-message/.test(text))
    return `${plain}: enable the plugin rabbitmq_delayed_message_exchange, or choose other \`delays\``;
  if (code === 530) return `${plain}: does the vhost exist, and may the user enter it?`;
  if (code === 403 && /ACCESS[-_]REFUSED/.test(text)) return `${plain}: check the user, the password and the rights`;
  return plain;
}

function causeOf(error: unknown): unknown {
  return MachineryError.is(error) ? error.cause : error;
}
