// Starts server.mjs for a test file and tells adapters.mjs, here and in child processes, where it is.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Resolves when the server listens, with a function that ends it. */
export async function startMemoryServer(): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'machinery-memory-'));
  const path = join(folder, 'socket');
  const program = fileURLToPath(new URL('server.mjs', import.meta.url));
  const server = spawn(process.execPath, [program, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(server, 'close');
  await Promise.race([once(server.stdout, 'data'), ended.then(() => Promise.reject(new Error('The server ended')))]);
  process.env.MACHINERY_MEMORY_SERVER = path;
  return async () => {
    server.stdin.end();
    await ended;
    await rm(folder, { recursive: true });
  };
}
