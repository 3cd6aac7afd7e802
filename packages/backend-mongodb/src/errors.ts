// What an error of MongoDB means to core: whether trying again may help.

import { MachineryError } from '@machinery/core';
import {
  BSON,
  MongoAPIError,
  MongoCompatibilityError,
  MongoNotConnectedError,
  MongoServerError,
  MongoServerSelectionError,
  MongoTopologyClosedError,
  MongoWriteConcernError,
} from 'mongodb';

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

/** A driver's error as core's: `…_FAILED` for what the server or the driver refused for good, `…_UNAVAILABLE` for everything else. */
export function mongoError(doing: string, cause: unknown): MachineryError {
  if (MachineryError.is(cause)) return cause;
  const code = isRefused(cause) ? 'ERR_MACHINERY_BACKEND_FAILED' : 'ERR_MACHINERY_BACKEND_UNAVAILABLE';
  return new MachineryError(code, `MongoDB could not ${doing}: ${(cause as Error).message}`, { cause });
}

function isRefused(error: unknown): boolean {
  if (error instanceof MongoServerSelectionError) return error.cause instanceof MongoCompatibilityError;
  if (error instanceof MongoWriteConcernError) return false;
  if (error instanceof MongoServerError) return error.code !== undefined && !passing.has(error.code);
  if (error instanceof MongoNotConnectedError || error instanceof MongoTopologyClosedError) return false;
  return error instanceof MongoAPIError || error instanceof BSON.BSONError;
}
