// A worker of the fault tests, in a process of its own. It tells its parent which tasks it begins.

import process from 'node:process';
import { RedisBackend } from '@machinery/backend-redis';
import { PubSubBroker } from '@machinery/broker-pubsub';
import { Server, silentLogger } from '@machinery/core';

const { broker: options, redis, queue } = JSON.parse(process.argv[2]);
process.once('disconnect', () => process.exit(1));

const [broker, backend] = [new PubSubBroker(options), new RedisBackend({ url: redis })];
const server = new Server({ broker, backend, defaultQueue: queue, logger: silentLogger });
server.registerTask('work', async (n) => {
  process.send({ begun: n });
  await new Promise((resolve) => setTimeout(resolve, 5));
  return n;
});
await server.newWorker(`worker-${process.pid}`, { concurrency: 20 }).start();
process.send({ ready: true });
