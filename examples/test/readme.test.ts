// What the READMEs show compiles, and the first program runs and prints what it says.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';

const examples = fileURLToPath(new URL('..', import.meta.url));
const root = join(examples, '..');
/** Inside of examples, so that the packages resolve. */
const folder = join(examples, 'dist', 'readme');

/** The TypeScript blocks of a page. */
function snippets(page: string): string[] {
  return [...readFileSync(join(root, page), 'utf8').matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code as string);
}

beforeAll(() => {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function compile(name: string, code: string): string {
  writeFileSync(join(folder, `${name}.ts`), code);
  const options = [
    '--ignoreConfig',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--lib',
    'es2023,esnext.disposable',
    '--strict',
  ];
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  try {
    execFileSync(process.execPath, [tsc, ...options, '--types', 'node', join(folder, `${name}.ts`)], { cwd: examples });
  } catch (error) {
    throw new Error((error as { stdout: Buffer }).stdout.toString());
  }
  return join(folder, `${name}.js`);
}

it('runs the first program of the README', () => {
  const [program] = snippets('README.md');
  const output = execFileSync(process.execPath, [compile('first-program', program as string)]);
  expect(output.toString()).toBe('2\n');
});

it("compiles what core's README shows", () => {
  const declared =
    "import { RetryLater, Server } from '@machinery/core';\ndeclare const server: Server;\nvoid RetryLater;\n";
  compile('core', declared + snippets('packages/core/README.md').join('\n'));
});
