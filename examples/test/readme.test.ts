// What the README shows compiles, and what it says that it prints is printed. Those of the packages: adapters.test.ts.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { redisServer } from '@machinery/services';
import { afterAll, expect, it, vi } from 'vitest';
import { compile, printed, run, snippetFolder, snippets } from './snippets.ts';

const redis = await redisServer();
vi.stubEnv('REDIS_URL', redis?.url); // which the programs connect to
afterAll(() => redis?.stop());
vi.setConfig({ testTimeout: 60_000 }); // each compiles a program

const folder = snippetFolder('readme');

const [firstProgram, onRedis, tasks, worker, tests, workflows] = snippets('README.md') as [
  string,
  string,
  string,
  string,
  string,
  string,
];

it('runs the first program of the README', () => {
  expect(run(compile(folder, 'first-program', firstProgram))).toEqual(['2']);
});

it.skipIf(redis === undefined)('runs the same program on Redis', () => {
  expect(run(compile(folder, 'on-redis', onRedis))).toEqual(['2']);
});

it('runs the worker of the README until it is told to stop', async () => {
  writeFileSync(join(folder, 'tasks.ts'), tasks);
  const child = spawn(process.execPath, [compile(folder, 'worker', worker)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  expect(line.toString()).toBe('receipt for ada: 995\n');
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
});

it('runs the tests of the README', () => {
  writeFileSync(join(folder, 'tasks.ts'), tasks);
  const program = compile(folder, 'tasks.test', tests);
  expect(run(program, '--test', '--test-reporter=tap')).toEqual(expect.arrayContaining(['# pass 2', '# fail 0']));
});

it('runs the workflows of the README', () => {
  const expected = printed(workflows).map((line) => expect.stringMatching(line));
  expect(run(compile(folder, 'workflows', workflows))).toEqual(expected);
});

it("compiles what core's README shows", () => {
  const declared =
    "import { type Backend, type Broker, RetryLater, Server, UnrecoverableError } from '@machinery/core';\ndeclare const server: Server, broker: Broker, backend: Backend;\nvoid RetryLater, UnrecoverableError;\n";
  compile(folder, 'core', declared + snippets('packages/core/README.md').join('\n'));
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
  compile(folder, 'options', `declare const options: { url: string; poolSize?: number };\n${options}`);
});
