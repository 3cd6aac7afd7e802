// The demo's code prints what it says, worker and sender in one process on the memory adapters.

import { Server, silentLogger } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { expect, it } from 'vitest';
import { sendAll } from '../src/sender.ts';
import { registerHandlers } from '../src/worker.ts';

it('the demo sends its tasks and prints their results', async () => {
  await using server = new Server({ broker: new MemoryBroker(), backend: new MemoryBackend(), logger: silentLogger });
  registerHandlers(server);
  await server.newWorker('demo-worker', { concurrency: 10 }).start();
  const lines: string[] = [];
  await sendAll(server, (line) => lines.push(line));
  expect(lines).toEqual([
    'Single tasks:',
    '1 + 1 = 2',
    '2 + 2 = 4',
    '5 + 6 = 11',
    '3 * 7 = 21',
    'A task with an ETA:',
    '1 + 1 = 2, not before its time: true',
    'Slices:',
    'sum_ints([1, 2, 3, 4]) = 10',
    'sum_floats([1.5, 2.25]) = 3.75',
    'concat(["foo", "bar"]) = foobar',
    'split("foo") = ["f","o","o"]',
    'A task that throws:',
    'panic_task failed: oops',
  ]);
});
