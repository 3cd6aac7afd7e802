// The child program: a worker that dies at a failpoint. It reports on its standard output, and ends when its standard input does: its
// parent is gone.

import { writeSync } from 'node:fs';
import process from 'node:process';
import { startWorker, type WorkerConfig } from './worker.ts';

process.stdin.resume().once('end', () => process.exit());
await startWorker(
  JSON.parse(process.argv[2] ?? '{}') as WorkerConfig,
  // At once: what is written is the parent's, whatever becomes of this process.
  (entry) => writeSync(1, `${JSON.stringify(entry)}\n`),
  (message) => process.stderr.write(`${message}\n`),
);
