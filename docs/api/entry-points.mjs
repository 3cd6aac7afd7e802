// What users can import of the published packages: each specifier with its source, and the README that goes on its page.
// A new package or entry point is found by its package.json.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { normalizePath } from 'typedoc';

export const root = normalizePath(join(import.meta.dirname, '../..'));

const manifests = readdirSync(join(root, 'packages'))
  .map((folder) => join(root, 'packages', folder, 'package.json'))
  .filter((path) => existsSync(path))
  .map((path) => ({ directory: dirname(path), ...JSON.parse(readFileSync(path, 'utf8')) }))
  .filter((manifest) => manifest.private !== true);

export const packageNames = manifests.map(({ name }) => name);

export const entryPoints = manifests.flatMap(({ directory, name, exports }) =>
  Object.entries(exports)
    .filter(([path]) => !path.endsWith('.json'))
    .map(([path, conditions]) => ({
      specifier: name + path.slice(1),
      source: normalizePath(join(directory, conditions['@machinery/source'])),
      readme: path === '.' ? normalizePath(join(directory, 'README.md')) : undefined,
    })),
);
