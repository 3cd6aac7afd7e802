// Each example prints what its README says. Those that need a server, or are told to stop, have tests of their own.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { documentedOutput, runDocumented } from './documented.ts';

const examples = join(import.meta.dirname, '..');

describe.concurrent('prints what its README says', { timeout: 60_000 }, () => {
  it.each(['typed-tasks', 'retries', 'chords', 'periodic', 'testing', 'tracing', 'own-adapter'])(
    '%s',
    async (example) => {
      expect(await runDocumented(example)).toMatch(documentedOutput(example));
    },
  );
});

it('has each example in its index', () => {
  const index = readFileSync(join(examples, 'README.md'), 'utf8');
  const listed = [...index.matchAll(/^\| \[(.+)\]\((.+)\/README\.md\)/gm)].map(([, name, folder]) => [name, folder]);
  const folders = readdirSync(examples).filter((name) => existsSync(join(examples, name, 'README.md')));
  expect(listed.toSorted()).toEqual(folders.map((name) => [name, name]).toSorted());
});
