// A worker that is also a scheduler: start as many as you like. The lock on Redis lets one of them send each tick.

import process from 'node:process';
import { RedisBackend } from '@machinery/backend-redis';
import { RedisBroker } from '@machinery/broker-redis';
import { defineTask, int, Server, string } from '@machinery/core';
import { RedisLock } from '@machinery/lock-redis';

const report = defineTask('report', { args: [string, int] });
const url = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379';

await using server = new Server({
  broker: new RedisBroker({ url }),
  backend: new RedisBackend({ url }),
  lock: new RedisLock({ url }),
  defaultQueue: 'machinery_periodic_example',
});
server.handle(report, (_task, time, pid) => console.log(`report of ${time}, sent by process ${pid}`));
server.registerPeriodicTask('@every 1s', 'report', () => report(new Date().toISOString().slice(11, 19), process.pid));
await server.newWorker(`worker-${process.pid}`).launch(); // until SIGINT or SIGTERM
