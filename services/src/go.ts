// Go programs of the tests: the module in interop/go.

import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const folder = join(import.meta.dirname, '../../interop/go');

/** Where Go is; undefined where it is not. */
export function findGo(): string | undefined {
  return ['go', '/usr/local/go/bin/go'].find((program) => spawnSync(program, ['version']).status === 0);
}

/**
 * Builds a program of interop/go, `.` or a folder there, and answers its file. Takes a minute or two the first time, while the
 * modules are compiled.
 */
export async function buildGo(go: string, source: '.' | './pubsub-fake'): Promise<string> {
  const binary = join(folder, 'dist', source === '.' ? 'peer' : 'pubsub-fake');
  await promisify(execFile)(go, ['build', '-buildvcs=false', '-o', binary, source], { cwd: folder });
  return binary;
}
