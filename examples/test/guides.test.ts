// What the guides show: each program runs by itself and prints what its comments say; each message can be read.

import { basename } from 'node:path';
import { decodeGroupMeta, decodeSignature, decodeState } from '@machinery/core';
import { expect, it } from 'vitest';
import { compile, printed, run, snippetFolder, snippets } from './snippets.ts';

const folder = snippetFolder('guides');
const pages = [
  'docs/moving-from-go-machinery.md',
  'docs/moving-from-bullmq.md',
  'docs/moving-from-celery.md',
  'packages/lock-eager/README.md',
];

it.each(pages)('runs the programs of %s', (page) => {
  const programs = snippets(page);
  expect(programs.length).toBeGreaterThan(0);
  for (const [i, code] of programs.entries()) {
    const expected = printed(code).map((line) => expect.stringMatching(line));
    expect(run(compile(folder, `${basename(page, '.md')}-${i}`, code))).toEqual(expected);
  }
});

it('runs the tests of the guide on testing', () => {
  const programs = snippets('docs/testing.md');
  expect(programs).toHaveLength(4);
  for (const [i, code] of programs.entries()) {
    const program = compile(folder, `testing-${i}.test`, code);
    expect(run(program, '--test', '--test-reporter=tap')).toContain('# pass 1');
  }
});

it('reads the message, the state and the meta that the page on the wire format shows', () => {
  const [message, state, meta] = snippets('docs/wire-format.md', 'json') as [string, string, string];
  expect(decodeSignature(message)).toMatchObject({
    name: 'report',
    args: [{ value: 9223372036854775807n }, {}, {}, {}, {}],
  });
  expect(decodeState(state)).toMatchObject({ state: 'RETRY', attempt: 2, retryCount: 1 });
  expect(decodeGroupMeta(meta).taskUuids).toHaveLength(2);
});
