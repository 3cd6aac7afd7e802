// Runs a program of the tests in a process of its own, on the built package, and waits for what it prints.

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { Journal } from './journal.ts';

export interface ChildProgram {
  readonly process: ChildProcess;
  readonly lines: Journal<string>;
  readonly errors: string[];
  readonly exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/** One of `programs/` beside this file. */
export function runProgram(name: 'launched' | 'stray', ...args: string[]): ChildProgram {
  return runProgramAt(new URL(`programs/${name}.mjs`, import.meta.url), ...args);
}

export function runProgramAt(url: URL, ...args: string[]): ChildProgram {
  const child = spawn(process.execPath, [fileURLToPath(url), ...args], { stdio: 'pipe' });
  const lines = new Journal<string>();
  const errors: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.add(line));
  child.stderr.on('data', (data) => errors.push(String(data)));
  child.stdin.on('error', () => {});
  const exit = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal })),
  );
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await exit;
  });
  return { process: child, lines, errors, exit };
}
