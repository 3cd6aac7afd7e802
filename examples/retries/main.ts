// Sends tasks that fail at first, or for good, and prints what becomes of them.

import { randomUUID } from 'node:crypto';
import { Server, silentLogger, TaskFailedError } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { alarm, charge, collectReport, fetchRate, register, slowQuery } from './tasks.ts';

const timeoutMs = 10_000;

// Without `logger`, a task that has failed for good is also printed on stderr.
await using server = new Server({ broker: new MemoryBroker(), backend: new MemoryBackend(), logger: silentLogger });
register(server);
await server.newWorker('worker-1').start();

const rate = await server.send(fetchRate('EUR'));
console.log(`the rate is ${await rate.get({ timeoutMs })}`);

const report = await server.send(collectReport());
console.log(`here is ${await report.get({ timeoutMs })}`);

const receipt = await server.send(charge(995));
try {
  await receipt.get({ timeoutMs });
} catch (error) {
  if (!(error instanceof TaskFailedError)) throw error; // of `get`: it waited for too long, say
  console.log(`${error.taskName} failed: ${error.error}`);
}

// Where nobody waits for the result, an error callback is sent after the last attempt. By a UUID of your own you can wait for that.
const uuid = randomUUID();
await server.send(slowQuery(), { onError: [alarm.partial().with({ uuid })] });
await server.result(uuid, alarm).get({ timeoutMs });
