// The example of a trace prints one tree, on every engine.

import { execFile } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { rabbitServer, redisServer } from '@machinery/services';
import { afterAll, expect, it } from 'vitest';

const [redis, rabbit] = [await redisServer(), await rabbitServer()];
afterAll(() => Promise.all([redis?.stop(), rabbit?.stop()]));

const program = fileURLToPath(new URL('../dist/tracing/main.js', import.meta.url));

it.each([
  ['the in-memory engine', 'memory://', 'memory://'],
  ['Redis', redis?.url, redis?.url],
  ['RabbitMQ with states in Redis', rabbit?.url, redis?.url],
])('prints the trace of a chord on %s', { timeout: 30_000 }, async (_, broker, backend) => {
  if (broker === undefined || backend === undefined) return; // which `services` has said
  const { stdout } = await promisify(execFile)(process.execPath, [program, '--broker', broker, '--backend', backend]);
  const lines = stdout.trimEnd().split('\n');
  expect(lines[0]).toBe('send chord');
  expect(lines.filter((line) => line === '  process add')).toHaveLength(3);
  expect(stdout).toContain('  process add\n    send multiply\n      process multiply');
  expect(lines).toHaveLength(6);
});
