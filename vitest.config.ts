import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { defineConfig } from 'vitest/config';

// Packages resolve each other to their sources, so no test depends on a stale build.
const conditions = ['@machinery/source', 'module', 'node', 'development|production'];

const packages = join(import.meta.dirname, 'packages');
const roots = [...readdirSync(packages).map((name) => join(packages, name)), join(import.meta.dirname, 'examples')];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    projects: roots
      .filter((root) => existsSync(join(root, 'package.json')))
      .map((root) => ({
        extends: true as const,
        test: { name: basename(root), root, include: ['test/**/*.test.ts'] },
      })),
  },
});
