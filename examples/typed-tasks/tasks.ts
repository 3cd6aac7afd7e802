// The contracts of the tasks: the file that those who send and those who run have in common.

import { defineTask, int64, json, rest, string } from '@machinery/core';
import { z } from 'zod';

/** Any number of integers, and one result. */
export const add = defineTask('add', { args: rest(int64), returns: int64 });

/** Two results, which `get` gives as a tuple. */
export const splitName = defineTask('split_name', { args: [string], returns: [string, string] });

const order = z.object({ id: z.int(), items: z.array(z.object({ name: z.string(), cents: z.int() })).min(1) });

/** JSON. A schema of zod, valibot, arktype … checks it where it is sent, and again where it is received. */
export const total = defineTask('total', { args: [json(order)], returns: int64 });
