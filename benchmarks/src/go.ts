// The programs in Go, built once a run.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../go/', import.meta.url));
const compilers = ['go', '/usr/local/go/bin/go'];
const built = new Map<string, readonly [string] | undefined>();

/** The program's path; undefined, with a line that says why, where it cannot be built. */
export function buildGo(name: string): readonly [string] | undefined {
  if (!built.has(name)) built.set(name, build(name));
  return built.get(name);
}

function build(name: string): readonly [string] | undefined {
  const compiler = compilers.find((one) => spawnSync(one, ['version']).status === 0);
  if (compiler === undefined) return skip(name, 'Go is not installed');
  const program = join(folder, 'dist', name);
  const { status, stderr } = spawnSync(compiler, ['build', '-o', program, '.'], { cwd: join(folder, name) });
  return status === 0 ? [program] : skip(name, `it could not be built: ${stderr}`);
}

function skip(name: string, why: string): undefined {
  console.warn(`Skipped: the Go program ${name}: ${why}`);
  return undefined;
}
