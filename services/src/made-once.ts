// What is made from sources, once, and kept in a folder that Git ignores: a server that is compiled, or what it needs from a registry.

import { existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** After that long, in milliseconds, whoever was at it is taken for dead. */
const patienceMs = 10 * 60_000;

/**
 * Makes `target` unless it is there and no older than its sources. Of several processes one does, and the others wait for it.
 * @param make makes it at the path it is given.
 */
export async function madeOnce(
  target: string,
  sources: readonly string[],
  make: (path: string) => Promise<unknown>,
): Promise<void> {
  const isThere = () =>
    existsSync(target) && sources.every((source) => statSync(source).mtimeMs <= statSync(target).mtimeMs);
  const lock = `${target}.lock`;
  mkdirSync(dirname(target), { recursive: true });
  while (!isThere()) {
    if (!taken(lock)) {
      await sleep(200);
      continue;
    }
    const path = `${target}.new`;
    try {
      if (isThere()) return;
      rmSync(path, { recursive: true, force: true });
      await make(path);
      rmSync(target, { recursive: true, force: true });
      renameSync(path, target);
    } finally {
      rmSync(lock, { recursive: true, force: true });
    }
  }
}

function taken(lock: string): boolean {
  try {
    mkdirSync(lock);
    return true;
  } catch {
    const since = statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
    if (Date.now() - since > patienceMs) rmSync(lock, { recursive: true, force: true });
    return false;
  }
}
