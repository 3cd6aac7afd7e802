// Sends a task to Go's worker, and a chord whose members run there and whose callback runs here.

import { chord } from '@machinery/core';
import { newServer } from './server.ts';
import { add, list } from './tasks.ts';

await using server = newServer();
const sum = await server.send(add(1, 2, 3));
console.log(`Node asks Go to add: ${await sum.get({ timeoutMs: 10_000 })}`);
const sums = await server.send(chord([add(1, 1), add(2, 2), add(5, 6)], list.partial()));
console.log(`Go adds, Node lists: ${await sums.get({ timeoutMs: 10_000 })}`);
