// What the SDK throws, as errors of core: here is decided what may pass.

import { errorText, MachineryError } from '@machinery/core';

interface ServiceError {
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $retryable?: unknown;
  readonly $response?: { body?: unknown };
}

/** Too much at once, or at the same time as another region. */
const crowded = /throttl|ThroughputExceeded|RequestLimitExceeded|TooManyRequests|SlowDown|WriteConflict/i;
/** Credentials come and go where a role gives them: what waits for them is not lost. */
const credentials =
  /^(CredentialsProviderError|ExpiredToken|ExpiredTokenException|RequestExpired|RequestTimeTooSkewed)$/;
/** What the SDK refuses by itself. */
const neverSent = /Region is missing|Invalid URL/;

/** @param hint what to do when a table is missing. */
export function backendError(doing: string, cause: unknown, hint = ''): MachineryError {
  if (MachineryError.is(cause)) return cause;
  const { name = '', $metadata, $response } = cause as ServiceError;
  if ($response !== undefined) delete $response.body; // it has the request, whose headers have the session's token
  const shown = $metadata?.httpStatusCode === undefined ? '' : ` (${name})`;
  const advice = isMissing(cause) ? hint : '';
  return new MachineryError(
    mayPass(cause) ? 'ERR_MACHINERY_BACKEND_UNAVAILABLE' : 'ERR_MACHINERY_BACKEND_FAILED',
    `DynamoDB could not ${doing}: ${textOf(cause)}${shown}${advice}`,
    { cause },
  );
}

export function unavailable(text: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_BACKEND_UNAVAILABLE', text);
}

export function closedError(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The DynamoDB backend is closed');
}

/** A table, that is; items that are not there are no errors. */
export function isMissing(error: unknown): boolean {
  return (error as ServiceError | undefined)?.name === 'ResourceNotFoundException';
}

/** A table that is to be created is there, or is being created. */
export function isInUse(error: unknown): boolean {
  return (error as ServiceError | undefined)?.name === 'ResourceInUseException';
}

/** Whether the condition of a write did not hold. */
export function isConditionFailure(error: unknown): boolean {
  return (error as ServiceError | undefined)?.name === 'ConditionalCheckFailedException';
}

/** Whether DynamoDB counted more bytes than we did. */
export function isTooLarge(error: unknown): boolean {
  const { name, message = '' } = (error ?? {}) as ServiceError;
  return name === 'ValidationException' && /item size/i.test(message);
}

function mayPass(error: unknown): boolean {
  const { name = '', $metadata, $retryable } = error as ServiceError;
  const status = $metadata?.httpStatusCode;
  if (credentials.test(name) || crowded.test(name) || $retryable !== undefined) return true;
  if (status === undefined) return !(error instanceof TypeError) && !neverSent.test(errorText(error));
  // Below 400 the answer was lost on its way, or garbled
  return status < 400 || status >= 500 || status === 429;
}

/** Errors of connecting to several addresses have no text of their own. */
function textOf(error: unknown): string {
  const { code, message } = error as ServiceError;
  return message || code || errorText(error);
}
