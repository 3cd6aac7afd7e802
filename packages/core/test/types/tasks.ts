// The tasks that the type tests of this folder use.

import { bytes, defineTask, float64, int64, rest, type Server, string } from '../../src/index.ts';

export declare const server: Server;

export const add = defineTask('add', { args: rest(int64), returns: int64 });
export const double = defineTask('double', { args: [int64], returns: int64 });
export const minus = defineTask('minus', { args: [int64, int64], returns: int64 });
export const half = defineTask('half', { args: [int64], returns: float64 });
export const greet = defineTask('greet', { args: [string], returns: string });
export const format = defineTask('format', { args: [string, rest(float64)], returns: string });
export const divide = defineTask('divide', { args: [int64, int64], returns: [int64, int64] });
export const pair = defineTask('pair', { returns: [string, int64] });
export const store = defineTask('store', { args: [string, int64] });
export const upload = defineTask('upload', { args: [bytes] });
export const cleanUp = defineTask('clean_up');
