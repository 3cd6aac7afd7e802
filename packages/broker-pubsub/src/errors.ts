// What an error of Pub/Sub means to core: whether trying again may help, what to do where it cannot, and which
// acknowledgements of a call were refused.

import { errorText, MachineryError } from '@machinery/core';

/** Status codes of gRPC that are told apart. */
const code = {
  invalidArgument: 3,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  unavailable: 14,
  deadlineExceeded: 4,
  unauthenticated: 16,
} as const;

/** What no second try changes. */
const refused = new Set<unknown>([
  code.invalidArgument,
  code.notFound,
  code.alreadyExists,
  code.permissionDenied,
  code.failedPrecondition,
  code.outOfRange,
  code.unimplemented,
  code.unauthenticated,
]);

/** The credentials gave no token to make a call with, under whatever status code. */
const noToken = /^Getting metadata from plugin failed/;

interface CallError {
  readonly code?: unknown;
  readonly details?: string;
  /** By ack ID, where delivery is exactly once. */
  readonly errorInfoMetadata?: Readonly<Record<string, string>>;
}

export function isMissing(error: unknown): boolean {
  return codeOf(error) === code.notFound;
}

export function isThere(error: unknown): boolean {
  return codeOf(error) === code.alreadyExists;
}

export function isForbidden(error: unknown): boolean {
  return codeOf(error) === code.permissionDenied;
}

/** It took longer than it may. */
export function isTimeout(error: unknown): boolean {
  return codeOf(error) === code.deadlineExceeded;
}

/** The call never left, or the server says that it did nothing. */
export function didNothing(error: unknown): boolean {
  const { code: status, details = '' } = causeOf(error) as CallError;
  if (noToken.test(details)) return true;
  if (status === code.unavailable) return /^(?:No connection established|Name resolution failed)/.test(details);
  return typeof status !== 'number' || status === code.resourceExhausted || refused.has(status);
}

/** The ack IDs of a call that were refused, and those that may be tried again; undefined where the whole call failed. */
export function refusedAcks(error: unknown): { readonly lost: Set<string>; readonly passing: Set<string> } | undefined {
  const { errorInfoMetadata } = causeOf(error) as CallError;
  const reasons = Object.entries(errorInfoMetadata ?? {}).filter(([, reason]) =>
    /^(?:PERMANENT|TRANSIENT)_/.test(reason),
  );
  if (reasons.length === 0) return undefined;
  const having = (prefix: string) => new Set(reasons.filter(([, r]) => r.startsWith(prefix)).map(([ackId]) => ackId));
  return { lost: having('PERMANENT_'), passing: having('TRANSIENT_') };
}

/** A driver's error as core's. `doing` names the topic or the subscription. */
export function pubsubError(doing: string, cause: unknown): MachineryError {
  if (MachineryError.is(cause)) return cause;
  const { code: status, details } = cause as CallError;
  const text = details || errorText(cause);
  if (status === code.resourceExhausted && /larger than max/.test(text))
    return new MachineryError('ERR_MACHINERY_MESSAGE_TOO_LARGE', `Pub/Sub could not ${doing}: ${text}`, { cause });
  const isRefused = refused.has(status) || /default credentials|universe domain|invalid_grant/.test(text);
  return new MachineryError(
    isRefused ? 'ERR_MACHINERY_BROKER_FAILED' : 'ERR_MACHINERY_BROKER_UNAVAILABLE',
    `Pub/Sub could not ${doing}: ${explained(status, text)}`,
    { cause },
  );
}

function explained(status: unknown, text: string): string {
  if (status === code.notFound) return `${text}. It does not exist: create it, or set \`createMissing\` in development`;
  if (status === code.permissionDenied)
    return `${text}: the account needs roles/pubsub.publisher and roles/pubsub.subscriber`;
  return text;
}

function codeOf(error: unknown): unknown {
  return (causeOf(error) as CallError).code;
}

function causeOf(error: unknown): object {
  const cause = MachineryError.is(error) ? error.cause : error;
  return typeof cause === 'object' && cause !== null ? cause : {};
}
