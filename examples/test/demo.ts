// The demo as a process.

import { execFile } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const program = fileURLToPath(new URL('../dist/demo/main.js', import.meta.url));
/** What it prints, wherever it runs. */
export const lines = [
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
];

/** Runs it as `npm run demo -- <flags>` does. */
export function demo(...flags: string[]) {
  return promisify(execFile)(process.execPath, [program, ...flags]);
}
