// The worker on a YAML file of Go Machinery's, as a process.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineTask, int64, rest } from '@machinery/core';
import { configFromYaml, createServer } from '@machinery/core/config';
import { redisServer } from '@machinery/services';
import { afterAll, expect, it } from 'vitest';
import { documentedOutput } from './documented.ts';
import { Program } from './program.ts';

const redis = await redisServer();
const folder = mkdtempSync(join(tmpdir(), 'machinery-config-file-'));
afterAll(async () => {
  await redis?.stop();
  rmSync(folder, { recursive: true });
});

it.skipIf(redis === undefined)('a file of Go Machinery’s starts a worker', { timeout: 30_000 }, async () => {
  const file = readFileSync(join(import.meta.dirname, '../config-file/machinery.yml'), 'utf8');
  const path = join(folder, 'machinery.yml');
  writeFileSync(path, file.replaceAll('redis://localhost:6379', redis?.url as string));
  const program = new Program(['config-file/worker.js', path]);
  await program.printed(1);
  expect(`${program.lines[0]}\n`).toMatch(documentedOutput('config-file'));
  using config = configFromYaml(path);
  await using server = await createServer(config);
  const add = defineTask('add', { args: rest(int64), returns: int64 });
  const result = await server.send(add(5, 6));
  expect(await result.get({ timeoutMs: 10_000 })).toBe(11);
  expect(await program.stop()).toBe(0);
});
