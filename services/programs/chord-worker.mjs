// A worker of a large chord, in a process of its own. It tells its parent when it works, and of each task that it runs.

import process from 'node:process';
import { defineTask, int64, rest, Server, silentLogger } from '@machinery/core';

const { adapters, queue, leaseMs } = JSON.parse(process.argv[2]);
process.once('disconnect', () => process.exit()); // its parent is gone
process.env.TEST_LEASE_MS = String(leaseMs);
const { createBroker, createBackend } = await import(adapters);

const server = new Server({
  broker: createBroker(queue),
  backend: createBackend(queue),
  defaultQueue: queue,
  logger: silentLogger,
});
server.handle(defineTask('member', { args: [int64], returns: int64 }), (_task, n) => {
  process.send({ member: n });
  return n;
});
server.handle(defineTask('callback', { args: rest(int64), returns: int64 }), (_task, ...numbers) => {
  process.send({ callback: numbers });
  return numbers.length;
});
await server.newWorker('worker', { concurrency: 10 }).start();
process.send({ ready: true });
