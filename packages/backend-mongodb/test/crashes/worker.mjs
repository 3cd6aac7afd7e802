// A worker of a large chord, in a process of its own. It tells its parent of each call.

import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { RedisBroker } from '@machinery/broker-redis';
import { Server, silentLogger } from '@machinery/core';
import { createBackend } from './adapters.mjs';

const { queue, name, leaseMs } = JSON.parse(process.argv[2]);
process.once('disconnect', () => process.exit(1));

const server = new Server({
  broker: new RedisBroker({ url: process.env.REDIS_TEST_URL, leaseMs, beatMs: leaseMs / 5 }),
  backend: createBackend(),
  defaultQueue: queue,
  logger: silentLogger,
});
server.registerTask('member', async (n) => {
  process.send({ event: 'member', n });
  await sleep(5);
  return n;
});
server.registerTask('callback', (...numbers) => {
  process.send({ event: 'callback', numbers });
  return numbers.length;
});
await server.newWorker(name, { concurrency: 10 }).start();
