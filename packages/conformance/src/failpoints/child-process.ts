// The parent's side of `child.ts`: starts it, and follows what it reports until it has ended.

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Entry } from './journal.ts';
import type { WorkerConfig } from './worker.ts';

/** Compiled, also when this file is not: Node 20 runs no TypeScript. */
const program = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../../dist/failpoints/child.js' : './child.js', import.meta.url),
);

export class Child {
  /** Resolves when the process has ended and everything that it reported is in `entries`. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  readonly entries: Entry[] = [];
  /** What it wrote to its standard error. */
  errors = '';
  readonly #process: ChildProcess;

  /** @param onEntry is called after each entry. */
  constructor(config: WorkerConfig, onEntry: () => void) {
    const child = spawn(process.execPath, [program, JSON.stringify(config)], { stdio: 'pipe' });
    this.#process = child;
    const lines = createInterface({ input: child.stdout });
    lines.on('line', (line) => {
      this.entries.push(JSON.parse(line) as Entry);
      onEntry();
    });
    const linesEnded = new Promise((resolve) => lines.once('close', resolve));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => void linesEnded.then(() => resolve({ code, signal })));
    });
    this.ended.catch(() => {}); // awaited later
  }

  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.ended;
  }
}
