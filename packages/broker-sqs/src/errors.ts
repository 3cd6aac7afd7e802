// What the SDK throws, and what SQS answers for single entries of a batch, as errors of core. Here is decided what may pass.

import type { BatchResultErrorEntry } from '@aws-sdk/client-sqs';
import { errorText, failed, MachineryError, type Outcome } from '@machinery/core';

interface ServiceError {
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly clockSkewCorrected?: boolean };
  readonly $retryable?: { readonly throttling?: boolean };
}

/** Nothing was sent: no address, no connection. */
const unsent =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EMFILE|CERT_|ERR_TLS|DEPTH_ZERO|UNABLE_TO|SELF_SIGNED)/;
const throttled = /throttl|OverLimit|TooManyRequests|RequestLimitExceeded|SlowDown|BandwidthLimitExceeded/i;
/** What provides credentials has none at this moment; the request was not sent. */
const noCredentials = 'CredentialsProviderError';
/** Credentials that others may have replaced by the next try. */
const expired = /^(ExpiredToken|ExpiredTokenException|RequestExpired|TokenRefreshRequired|RequestTimeTooSkewed)$/;
const noQueue = /QueueDoesNotExist|NonExistentQueue/;
const tooLong = /must be shorter than|BatchRequestTooLong|longer than/i;
/** Another consumer has the message, or it was deleted. */
const gone = /ReceiptHandleIsInvalid|MessageNotInflight|InvalidParameterValue|InvalidAddress/;

/** A failed request as an error of core. */
export function brokerError(error: unknown, what: string): MachineryError {
  if (MachineryError.is(error)) return error;
  const { name = '', $metadata } = error as ServiceError;
  const hint = noQueue.test(name) ? ': create it first' : '';
  const status = $metadata?.httpStatusCode === undefined ? '' : ` (${name})`;
  return new MachineryError(
    mayPass(error) ? 'ERR_MACHINERY_BROKER_UNAVAILABLE' : 'ERR_MACHINERY_BROKER_FAILED',
    `SQS could not ${what}: ${textOf(error)}${status}${hint}`,
    { cause: error },
  );
}

/** What became of the messages of a send that failed as a whole. */
export function outcomeOf(error: unknown, what: string): Outcome {
  const mapped = brokerError(error, what);
  // Who starts without credentials should hear it at once; a callback must not fail because their provider is away for a moment.
  if (mapped.code !== 'ERR_MACHINERY_BROKER_UNAVAILABLE')
    return failed(mapped, (error as ServiceError).name === noCredentials);
  return mayBeStored(error) ? { status: 'unknown', error: mapped } : failed(mapped, true);
}

/** What became of one message of a send. */
export function outcomeOfEntry({ Code = '', Message = '', SenderFault }: BatchResultErrorEntry, what: string): Outcome {
  const text = `SQS could not ${what}: ${Message || Code}`;
  if (tooLong.test(Message)) return failed(new MachineryError('ERR_MACHINERY_MESSAGE_TOO_LARGE', text), false);
  const passes = SenderFault !== true || throttled.test(Code);
  return failed(
    new MachineryError(passes ? 'ERR_MACHINERY_BROKER_UNAVAILABLE' : 'ERR_MACHINERY_BROKER_FAILED', text),
    passes,
  );
}

/** Whether the messages of a request are too large together. */
export function isTooLong(error: unknown): boolean {
  const { name = '', message = '' } = error as ServiceError;
  return tooLong.test(`${name} ${message}`);
}

/** Whether an entry failed because its message is no longer this consumer's. */
export function isGone({ Code = '' }: BatchResultErrorEntry): boolean {
  return gone.test(Code);
}

/** The error of an entry that may do better. */
export function entryError({ Code = '', Message = '' }: BatchResultErrorEntry, what: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_BROKER_UNAVAILABLE', `SQS could not ${what}: ${Message || Code}`);
}

/** Whether SQS has refused, and not been away. */
export function isAnswer({ cause }: { readonly cause?: unknown }): boolean {
  const { httpStatusCode = 500 } = (cause as ServiceError | undefined)?.$metadata ?? {};
  return httpStatusCode < 500;
}

export function closedError(what: 'broker' | 'consumer'): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', `The ${what} is closed`);
}

function mayPass(error: unknown): boolean {
  const { name = '', $metadata, $retryable } = error as ServiceError;
  if (name === noCredentials) return false;
  const status = refusalOf(error);
  if (status === undefined) return !isProgrammingError(error);
  if (status >= 500 || status === 429 || $retryable?.throttling === true) return true;
  // This machine's clock is wrong, and the SDK now signs by the service's
  if ($metadata?.clockSkewCorrected === true) return true;
  return throttled.test(name) || expired.test(name);
}

/** The request had left, and SQS did not refuse it. */
function mayBeStored(error: unknown): boolean {
  const { name = '', code = '', message = '', $retryable } = error as ServiceError;
  const status = refusalOf(error);
  if (status !== undefined) return status >= 500 && status !== 503 && !throttled.test(name) && !$retryable?.throttling;
  return !unsent.test(code) && !/did not establish a connection/.test(message);
}

/** The status of an answer that refuses; undefined where there is none, or half of one that does not. */
function refusalOf(error: unknown): number | undefined {
  const { httpStatusCode = 0 } = (error as ServiceError).$metadata ?? {};
  return httpStatusCode >= 400 ? httpStatusCode : undefined;
}

/** What the SDK refuses by itself: no region, an input that it cannot write. */
function isProgrammingError(error: unknown): boolean {
  return error instanceof TypeError || /Region is missing|Invalid URL/.test(errorText(error));
}

/** Errors of connecting to several addresses have no text of their own. */
function textOf(error: unknown): string {
  const { code, message } = error as ServiceError;
  return message || code || errorText(error);
}
