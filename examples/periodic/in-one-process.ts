// Two schedulers with the same entry, on one lock. One of them sends each tick, and when that one has gone, the other does.

import { EventEmitter, on } from 'node:events';
import { defineTask, Server, string } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { EagerLock } from '@machinery/lock-eager';

const report = defineTask('report', { args: [string] });
const shared = { broker: new MemoryBroker(), backend: new MemoryBackend(), lock: new EagerLock() };

function newScheduler(name: string): Server {
  const server = new Server(shared);
  server.registerPeriodicTask('@every 1s', 'report', () => report(name)); // a function: made at each tick
  return server;
}
await using first = newScheduler('scheduler-1');
await using _second = newScheduler('scheduler-2');

await using worker = new Server(shared); // closed first, and with it what they share
const reports = new EventEmitter();
worker.handle(report, (_task, scheduler) => void reports.emit('report', scheduler));
await worker.newWorker('worker-1').start();

let count = 0;
for await (const [scheduler] of on(reports, 'report')) {
  count += 1;
  console.log(`report ${count}, sent by ${scheduler}`);
  if (count === 2) {
    for (const entry of first.periodic.entries()) entry.remove();
    console.log('scheduler-1 has stopped');
  }
  if (count === 4) break;
}
