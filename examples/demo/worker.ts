// The worker's side: what runs the tasks.

import { setTimeout as wait } from 'node:timers/promises';
import type { Server } from '@machinery/core';
import { add, concat, longRunningTask, multiply, panicTask, split, sumFloats, sumInts } from './tasks.ts';

/** Registers a handler for each task. The compiler checks each against its contract. */
export function registerHandlers(server: Server, { tickMs = 1_000 } = {}): void {
  server.handle(add, (_task, ...terms) => sum(terms));
  server.handle(multiply, (_task, ...factors) => factors.reduce((a, b) => a * b, 1));
  server.handle(sumInts, (_task, numbers) => sum(numbers));
  server.handle(sumFloats, (_task, numbers) => sum(numbers));
  server.handle(concat, (_task, parts) => parts.join(''));
  server.handle(split, (_task, text) => [...text]);
  server.handle(panicTask, () => {
    throw new Error('oops');
  });
  server.handle(longRunningTask, async (task) => {
    task.logger.info('Long running task started');
    for (let left = 10; left > 0; left--) {
      task.logger.info(String(left));
      await wait(tickMs, undefined, { signal: task.signal });
    }
    task.logger.info('Long running task finished');
  });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
