// What the numbers were measured on, and at which state of this project.

import { execFileSync } from 'node:child_process';
import { cpus, loadavg, release, totalmem, type } from 'node:os';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

export interface Machine {
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryGb: number;
  readonly os: string;
  readonly node: string;
  readonly redis: string;
  /** Of this repository, with a + when files were changed. */
  readonly commit: string;
  /** Of the last 15 minutes: more than the benchmark's own says that others were at work. */
  readonly load: number;
}

export function machine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? '?',
    cpus: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    os: `${type()} ${release()}`,
    node: process.versions.node,
    redis: / v=(\S+)/.exec(output('redis-server', '--version') || output('valkey-server', '--version'))?.[1] ?? '?',
    commit: commit(),
    load: loadavg()[2] ?? 0,
  };
}

function commit(): string {
  const head = output('git', 'rev-parse', '--short=10', 'HEAD').trim();
  return head === '' ? '?' : head + (output('git', 'status', '--porcelain').trim() === '' ? '' : '+');
}

function output(program: string, ...args: readonly string[]): string {
  try {
    const cwd = fileURLToPath(new URL('..', import.meta.url));
    return execFileSync(program, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return '';
  }
}
