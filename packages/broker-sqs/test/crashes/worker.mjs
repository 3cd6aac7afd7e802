// A worker of the load test: adds two to numbers, and says how many. Its argument is the queue.

import process from 'node:process';
import { defineTask, int64, Server, silentLogger } from '@machinery/core';
import { createBackend, createBroker } from './adapters.mjs';

const { queue } = JSON.parse(process.argv[2]);
process.once('disconnect', () => process.exit()); // its parent is gone
const server = new Server({
  broker: createBroker(),
  backend: createBackend(),
  defaultQueue: queue,
  logger: silentLogger,
});
let count = 0;
server.handle(defineTask('add two', { args: [int64], returns: int64 }), (_, n) => {
  count++;
  return n + 2;
});
setInterval(() => process.send({ count }, () => {}), 20); // it may be gone by then
await server.newWorker('worker', { concurrency: 100 }).start();
