// The worker on a YAML file of Go Machinery's, as a process.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { Server } from '@machinery/core';
import { configFromYaml, createServer } from '@machinery/core/config';
import { redisServer } from '@machinery/services';
import { afterAll, expect, it } from 'vitest';
import { add } from '../src/tasks.ts';

const redis = await redisServer();
const folder = mkdtempSync(join(tmpdir(), 'machinery-from-file-'));
afterAll(async () => {
  await redis?.stop();
  rmSync(folder, { recursive: true });
});

const root = join(import.meta.dirname, '..');

it.skipIf(redis === undefined)('a file of Go Machinery’s starts a worker', { timeout: 30_000 }, async () => {
  const file = readFileSync(join(root, 'machinery.yml'), 'utf8');
  const path = join(folder, 'machinery.yml');
  writeFileSync(path, file.replaceAll('redis://localhost:6379', redis?.url as string));
  const program = spawn(process.execPath, [join(root, 'dist/from-file.js'), path], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(program.stdout, 'data')) as [Buffer];
  expect(line.toString()).toBe('@machinery/broker-redis serves machinery_tasks\n');
  using config = configFromYaml(path);
  await using server = await createServer(config);
  expect(server).toBeInstanceOf(Server);
  const result = await server.send(add(5, 6));
  expect(await result.get({ timeoutMs: 10_000 })).toBe(11);
  program.kill('SIGTERM');
  expect(await once(program, 'exit')).toEqual([0, null]);
});
