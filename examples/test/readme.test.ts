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

/** The code blocks of a page in one language. */
function snippets(page: string, language = 'ts'): string[] {
  const blocks = readFileSync(join(root, page), 'utf8').matchAll(/```(\w+)\n(.*?)```/gs);
  return [...blocks].flatMap(([, name, code]) => (name === language ? [code as string] : []));
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

it('runs the workflows of the README', () => {
  const [, program] = snippets('README.md');
  const output = execFileSync(process.execPath, [compile('workflows', program as string)]);
  expect(output.toString()).toBe('[ 2, 4, 11 ]\n88\n48\n');
});

it("compiles what core's README shows", () => {
  const declared =
    "import { RetryLater, Server } from '@machinery/core';\ndeclare const server: Server;\nvoid RetryLater;\n";
  compile('core', declared + snippets('packages/core/README.md').join('\n'));
});

it('runs the tests that the guide for adapters shows', () => {
  const [backendTest, handles, workflows] = snippets('docs/writing-an-adapter.md', 'js') as [string, string, string];
  const backend =
    "import { MemoryBackend } from '@machinery/core/memory';\nexport class MyBackend extends MemoryBackend {}\n" +
    "Object.defineProperty(MemoryBackend.prototype, 'close', { value: async () => {} });\n";
  writeFileSync(join(folder, 'my-backend.mjs'), backend);
  expect(handles).toContain('new MyBackend(store)');
  // The class of the guide is the reader's; core's stands in for it, with all of its handles on one store.
  const program = `${backendTest.replace(/testBackend\([\s\S]*/, '')}\nconst store = undefined;\nconst shared = new MyBackend();\n${workflows
    .replace('new MyBackend(store)', 'shared')
    .replace('{ createBroker,', '{ runs: 5, createBroker,')}`;
  writeFileSync(join(folder, 'workflows.test.mjs'), program);
  const output = execFileSync(process.execPath, [
    '--test',
    '--test-reporter=tap',
    join(folder, 'workflows.test.mjs'),
  ]).toString();
  expect(output).toMatch(/^# fail 0$/m);
  expect(output).toMatch(/^# pass [1-9]\d+$/m);
}, 120_000);

it('compiles what the guide for adapters shows of options', () => {
  const [, options] = snippets('docs/writing-an-adapter.md') as [string, string];
  compile('options', `declare const options: { url: string; poolSize?: number };\n${options}`);
});
