// Which versions of its dependencies a program runs on.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

export function versions(...packages: readonly string[]): Record<string, string> {
  const installed = packages.map((name) => [name, versionOf(name)] as const);
  return Object.fromEntries([...installed, ['node', process.versions.node]]);
}

/** By the files, as many a package exports no package.json. */
function versionOf(name: string): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); folder !== dirname(folder); folder = dirname(folder)) {
    const file = join(folder, 'node_modules', name, 'package.json');
    if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')).version;
  }
  return '?';
}
