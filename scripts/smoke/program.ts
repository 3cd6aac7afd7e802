// Compiled and run by `npm run check` in a project that has only the packed packages: what a user would write first.
import { strict as assert } from 'node:assert';
import { defineTask, int64, rest, Server } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const server = new Server({ broker: new MemoryBroker(), backend: new MemoryBackend() });
server.handle(add, (_task, ...terms) => terms.reduce((a, b) => a + b, 0));
await server.newWorker('worker-1').start();
const result = await server.send(add(1, 1));
const value: number = await result.get({ timeoutMs: 5_000 });
assert.equal(value, 2);
await server.close();
console.log(`1 + 1 = ${value}`);
