// The tasks of Go Machinery's example, as contracts: what those who send and those who run share.

import { defineTask, float64, int64, rest, slice, string } from '@machinery/core';

export const add = defineTask('add', { args: rest(int64), returns: int64 });
export const multiply = defineTask('multiply', { args: rest(int64), returns: int64 });
export const sumInts = defineTask('sum_ints', { args: [slice(int64)], returns: int64 });
export const sumFloats = defineTask('sum_floats', { args: [slice(float64)], returns: float64 });
export const concat = defineTask('concat', { args: [slice(string)], returns: string });
export const split = defineTask('split', { args: [string], returns: slice(string) });
export const panicTask = defineTask('panic_task', { returns: string });
export const longRunningTask = defineTask('long_running_task');
