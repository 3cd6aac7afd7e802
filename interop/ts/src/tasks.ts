// The tasks, as contracts for the client and with the handlers of the worker. ../go has the same under the same names.

import { appendFile, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  bigInt64,
  bigUint64,
  bool,
  bytes,
  defineTask,
  float32,
  float64,
  int64,
  RetryLater,
  rest,
  type Server,
  slice,
  string,
} from '@machinery/core';

export const add = defineTask('add', { args: rest(int64), returns: int64 });
export const multiply = defineTask('multiply', { args: rest(int64), returns: int64 });
export const sum = defineTask('sum', { args: [slice(int64)], returns: int64 });
export const concat = defineTask('concat', { args: [slice(string)], returns: string });
export const split = defineTask('split', { args: [string], returns: slice(string) });
export const returnJustError = defineTask('return_just_error', { args: [string, bool] });
export const returnMultipleValues = defineTask('return_multiple_values', {
  args: [string, string, bool],
  returns: [string, string],
});
export const panic = defineTask('panic', { returns: string });
export const delayTest = defineTask('delay_test', { returns: bigInt64 });
export const echoInt64 = defineTask('echo_int64', { args: [bigInt64], returns: bigInt64 });
export const echoUint64 = defineTask('echo_uint64', { args: [bigUint64], returns: bigUint64 });
export const echoFloat64 = defineTask('echo_float64', { args: [float64], returns: float64 });
export const echoFloat32 = defineTask('echo_float32', { args: [float32], returns: float32 });
export const echoString = defineTask('echo_string', { args: [string], returns: string });
export const echoBool = defineTask('echo_bool', { args: [bool], returns: bool });
export const echoBytes = defineTask('echo_bytes', { args: [bytes], returns: bytes });
export const echoStrings = defineTask('echo_strings', { args: [slice(string)], returns: slice(string) });
export const echoFloats = defineTask('echo_floats', { args: [slice(float64)], returns: slice(float64) });
export const echoInt64s = defineTask('echo_int64s', { args: [slice(bigInt64)], returns: slice(bigInt64) });
export const logError = defineTask('log_error', { args: [string, rest(string)], returns: string });
export const failUntil = defineTask('fail_until', { args: [string, int64], returns: int64 });
export const retryLaterUntil = defineTask('retry_later_until', { args: [string, int64], returns: int64 });

export function registerTasks(server: Server): void {
  server.handle(add, (_task, ...terms) => total(terms));
  server.handle(multiply, (_task, ...factors) => factors.reduce((a, b) => a * b, 1));
  server.handle(sum, (_task, terms) => total(terms));
  server.handle(concat, (_task, texts) => texts.join(''));
  server.handle(split, (_task, text) => [...text]);
  server.handle(returnJustError, (_task, text, fails) => {
    if (fails) throw new Error(text);
  });
  server.handle(returnMultipleValues, (_task, a, b, fails) => {
    if (fails) throw new Error('some error');
    return [a, b];
  });
  server.handle(panic, () => {
    throw new Error('oops');
  });
  server.handle(delayTest, nowNs);
  for (const echo of [echoInt64, echoUint64]) server.handle(echo, (_task, value) => value);
  for (const echo of [echoFloat64, echoFloat32]) server.handle(echo, (_task, value) => value);
  server.handle(echoString, (_task, value) => value);
  server.handle(echoBool, (_task, value) => value);
  server.handle(echoBytes, (_task, value) => value);
  server.handle(echoStrings, (_task, values) => values);
  server.handle(echoFloats, (_task, values) => values);
  server.handle(echoInt64s, (_task, values) => values);
  server.handle(logError, (_task, text, ...more) => `logged ${text}${more.join('|')}`);
  server.handle(failUntil, async (_task, key, wanted) => {
    const attempt = await countAttempt(key);
    if (attempt < wanted) throw new Error(`attempt ${attempt}`);
    return attempt;
  });
  server.handle(retryLaterUntil, async (_task, key, wanted) => {
    const attempt = await countAttempt(key);
    if (attempt < wanted) throw new RetryLater(300, 'later');
    return attempt;
  });
}

function total(terms: readonly number[]): number {
  return terms.reduce((a, b) => a + b, 0);
}

/** Finer than Date, whose milliseconds would make a run at its ETA one before it. */
function nowNs(): bigint {
  return BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6));
}

/** In a file, so that workers which share a queue count together. */
async function countAttempt(key: string): Promise<number> {
  const file = join(tmpdir(), `machinery-interop-${key}`);
  await appendFile(file, '.');
  return (await stat(file)).size;
}
