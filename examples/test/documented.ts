// What the README of an example says: the command that runs it from the root of the repository, and what that prints.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { snippets } from './snippets.ts';

const root = join(import.meta.dirname, '../..');

/** Runs an example by the first command of its README, and answers its stdout. */
export async function runDocumented(example: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const [commands = ''] = snippets(`examples/${example}/README.md`, 'sh');
  const [program = '', ...args] = commands.trim().split(' ');
  const file = program === 'node' ? process.execPath : program; // the Node that runs the tests
  const { PATH } = process.env; // nothing else: no settings of the runner of this test
  const { stdout } = await promisify(execFile)(file, args, { cwd: root, env: { PATH, NO_COLOR: '1', ...env } });
  return stdout;
}

/** What its README says that it prints. `…` stands for anything in a line, and for any lines where it has one for itself. */
export function documentedOutput(example: string): RegExp {
  const [output = ''] = snippets(`examples/${example}/README.md`, 'text');
  const escaped = output.replace(/[[\](){}.*+?^$|\\]/g, '\\$&');
  return new RegExp(`^${escaped.replace(/^…\n/gm, '(?:.*\\n)*?').replaceAll('…', '.*')}$`);
}
