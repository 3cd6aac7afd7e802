// The tasks of the fleet, with Go's types. Those of Go's workers are declared to be sent, ours to be run, too.

import { defineTask, int64, rest, string } from '@machinery/core';

/** func add(terms ...int64) (int64, error) of main.go, on the default queue. */
export const add = defineTask('add', { args: rest(int64), returns: int64 });

const queue = 'node_tasks';
export const slugify = defineTask('slugify', { args: [string], returns: string, queue });
export const list = defineTask('list', { args: rest(int64), returns: string, queue });
