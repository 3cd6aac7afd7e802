import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { defineConfig } from 'vitest/config';

// Packages resolve each other to their sources, so that no test depends on a stale build; `npm test`, which has just built them, lets Node load what
// was built, in a third of the time. Without `module`, which Node does not know, and which leads to files that only bundlers can load.
const isBuilt = process.env.MACHINERY_TEST_BUILT === '1';
const conditions = [...(isBuilt ? [] : ['@machinery/source']), 'node', 'development|production'];
const external = isBuilt ? [/^(?!.*\/node_modules\/).*\/dist\/.*\.js$/] : [];

const packages = join(import.meta.dirname, 'packages');
const others = ['examples', 'interop/ts', 'soak', 'benchmarks'].map((path) => join(import.meta.dirname, path));
const roots = [...readdirSync(packages).map((name) => join(packages, name)), ...others];

/** The package's, without its scope. */
function nameOf(root: string): string {
  const { name } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { name: string };
  return name.replace(/^.*\//, '');
}

/** What is started once for all files of a package. */
function globalSetup(root: string): string[] {
  const file = join(root, 'test/global-setup.ts');
  return existsSync(file) ? [file] : [];
}

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    server: { deps: { external } },
    maxWorkers: availableParallelism() + 1, // most tests wait for timers and servers
    retry: process.env.CI ? 1 : 0, // what a busy machine made late; elsewhere it fails, to be looked at
    projects: roots
      .filter((root) => existsSync(join(root, 'package.json')))
      .map((root) => ({
        extends: true as const,
        test: { name: nameOf(root), root, include: ['test/**/*.test.ts'], globalSetup: globalSetup(root) },
      })),
  },
});
