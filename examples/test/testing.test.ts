// The same tests of one's own tasks pass with the other two runners, on the Node that runs this. With node:test: documented.test.ts.

import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const require = createRequire(import.meta.url);

/** What a program prints. It is one of its own: nothing of the runner of this test is passed on. */
async function output(...args: string[]): Promise<string> {
  const env = { PATH: process.env.PATH, NO_COLOR: '1', CI: '1' };
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { cwd: root, env });
  return stdout + stderr;
}

it('with Vitest', async () => {
  const vitest = join(dirname(require.resolve('vitest/package.json')), 'vitest.mjs');
  expect(await output(vitest, 'run', '--root', 'examples/testing')).toMatch(/^ *Tests +5 passed \(5\)$/m);
}, 60_000);

it('with Jest', async () => {
  const jest = ['--experimental-vm-modules', require.resolve('jest/bin/jest')];
  const printed = await output(...jest, '--config', 'examples/testing/jest.config.mjs');
  expect(printed).toMatch(/^Tests: +5 passed, 5 total$/m);
}, 60_000);
