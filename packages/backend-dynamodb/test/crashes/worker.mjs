// A worker of a chord, in a process of its own. Tells when it works, and of each callback that it runs.

import process from 'node:process';
import { bigInt64, defineTask, rest, Server, silentLogger } from '@machinery/core';
import { createBackend, createBroker } from './adapters.mjs';

const { queue } = JSON.parse(process.argv[2]);
process.once('disconnect', () => process.exit());

const echo = defineTask('echo', { args: [bigInt64], returns: bigInt64 });
const sum = defineTask('sum', { args: rest(bigInt64), returns: bigInt64 });

const server = new Server({
  broker: createBroker(),
  backend: createBackend(),
  defaultQueue: queue,
  logger: silentLogger,
});
server.handle(echo, (_task, value) => {
  process.send({ ran: Number(value) });
  return value;
});
server.handle(sum, (_task, ...terms) => {
  process.send({ sum: terms.length });
  return terms.reduce((a, b) => a + b, 0n);
});
await server.newWorker('worker', { concurrency: 10 }).start();
process.send({ ready: true });
