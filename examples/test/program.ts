// A compiled example as a process that runs until it is told to stop.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { onTestFinished, vi } from 'vitest';

export class Program {
  /** The lines of its stdout so far. */
  readonly lines: string[] = [];
  /** Resolves with its exit code, or the signal that ended it, when all that it printed is here. */
  readonly ended: Promise<number | NodeJS.Signals>;
  readonly #process: ReturnType<typeof spawn>;

  /** @param path below examples/dist, with its arguments. */
  constructor([path, ...args]: readonly [string, ...string[]], env: NodeJS.ProcessEnv = {}) {
    const program = join(import.meta.dirname, '../dist', path);
    const child = spawn(process.execPath, [program, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    });
    createInterface(child.stdout).on('line', (line) => this.lines.push(line));
    this.#process = child;
    this.ended = once(child, 'close').then(([code, signal]) => code ?? signal);
    onTestFinished(() => void child.kill('SIGKILL'));
  }

  /** Resolves when it has printed so many lines. */
  async printed(count: number): Promise<void> {
    await vi.waitUntil(() => this.lines.length >= count, { timeout: 20_000, interval: 20 });
  }

  /** Asks it to stop, as an orchestrator does. */
  stop(): Promise<number | NodeJS.Signals> {
    this.#process.kill('SIGTERM');
    return this.ended;
  }
}
