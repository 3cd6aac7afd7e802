// What the README shows runs, and prints what it says.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { redisServer } from '@machinery/services';
import { afterAll, expect, it, vi } from 'vitest';

const redis = await redisServer();
const folder = new URL('../dist/readme/', import.meta.url);
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await redis?.stop();
});

it.skipIf(redis === undefined)('runs the program of the README', { timeout: 30_000 }, async () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const [, code = ''] = /```ts\n(.*?)```/s.exec(readme) ?? [];
  expect(code).toContain('redis://127.0.0.1:6379');
  const program = new URL('program.ts', folder);
  mkdirSync(folder, { recursive: true });
  writeFileSync(program, code.replace('redis://127.0.0.1:6379', redis?.url as string));
  const printed = vi.spyOn(console, 'log').mockImplementation(() => {});
  await import(program.pathname);
  expect(printed.mock.calls).toEqual([[true], [false]]);
  printed.mockRestore();
});
