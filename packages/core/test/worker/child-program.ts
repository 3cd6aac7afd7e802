// Runs one of `programs/` in a process of its own, on the built package, and waits for what it prints.

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

export function runProgram(name: 'launched' | 'stray', ...args: string[]): ChildProgram {
  const path = fileURLToPath(new URL(`programs/${name}.mjs`, import.meta.url));
  const child = spawn(process.execPath, [path, ...args], { stdio: 'pipe' });
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
