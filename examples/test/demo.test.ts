// The demo's code prints what it says, worker and sender in one process on the memory adapters.

import { Server, silentLogger } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { expect, it } from 'vitest';
import { sendAll } from '../src/sender.ts';
import { registerHandlers } from '../src/worker.ts';

it('the demo sends its tasks and prints their results', async () => {
  await using server = new Server({ broker: new MemoryBroker(), backend: new MemoryBackend(), logger: silentLogger });
  registerHandlers(server, { tickMs: 1 });
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
    'sum_ints([1, 2]) = 3',
    'sum_floats([1.5, 2.7]) = 4.2',
    'concat(["foo", "bar"]) = foobar',
    'split("foo") = ["f","o","o"]',
    'Group of tasks (parallel execution):',
    '1 + 1 = 2',
    '2 + 2 = 4',
    '5 + 6 = 11',
    'Group of tasks with a callback (chord):',
    '(1 + 1) * (2 + 2) * (5 + 6) = 88',
    '4 of 4 tasks are done',
    'Chain of tasks:',
    '(((1 + 1) + (2 + 2)) + (5 + 6)) * 4 = 68',
    '((5 + 6) + 1) * 4 = 48',
    '(((1 + 1) + 2) + ((1 + 1) * 10)) * 2 = 48',
    '(5 + 6) * 4 = 44, whatever 1 + 1 is',
    'A chord of which a member throws:',
    'panic_task failed: oops',
    'A task that throws:',
    'panic_task failed: oops',
    'A task that takes a while:',
    'long_running_task returned undefined',
  ]);
});
