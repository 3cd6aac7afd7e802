// What an error of MongoDB means to core: whether trying again may help.

import { MachineryError } from '@machinery/core';

/** Of a document whose `_id` is there already. */
export const duplicateKey = 11_000;

/**
 * Answers that pass by themselves: the server starts, stops, fails over, does not reach enough others or cannot be reached by the router,
 * took too long, is overloaded, or its disk is full.
 */
const passing: ReadonlySet<unknown> = new Set([
  6, 7, 50, 63, 64, 79, 89, 91, 100, 112, 133, 134, 150, 189, 262, 391, 462, 9_001, 10_058, 10_107, 11_600, 11_602,
  13_388, 13_435, 13_436, 14_031,
]);

/** What the driver refuses by itself. Its other errors, of connections and sessions that have ended among them, may pass. */
const refusals: ReadonlySet<string> = new Set([
  'MongoCompatibilityError',
  'MongoInvalidArgumentError',
  'MongoMissingCredentialsError',
  'MongoMissingDependencyError',
  'BSONError',
  'BSONVersionError',
]);

/** A driver's error as core's: `…_FAILED` for what the server or the driver refused for good, `…_UNAVAILABLE` for everything else. */
export function mongoError(doing: string, cause: unknown): MachineryError {
  if (MachineryError.is(cause)) return cause;
  const code = isRefused(cause as Error) ? 'ERR_MACHINERY_BACKEND_FAILED' : 'ERR_MACHINERY_BACKEND_UNAVAILABLE';
  return new MachineryError(code, `MongoDB could not ${doing}: ${(cause as Error).message}`, { cause });
}

/** By names, and not by classes: a client that was given may be of another copy of the driver. */
function isRefused({ name, cause, code }: Error & { readonly code?: unknown }): boolean {
  if (name === 'MongoServerSelectionError') return (cause as Error | undefined)?.name === 'MongoCompatibilityError';
  if (name === 'MongoWriteConcernError') return false;
  return refusals.has(name) || (typeof code === 'number' && !passing.has(code));
}
