// What the guides show: each program runs by itself and prints what its comments say; each message can be read.

import { basename } from 'node:path';
import { decodeGroupMeta, decodeSignature, decodeState } from '@machinery/core';
import { redisServer } from '@machinery/services';
import { afterAll, expect, it, vi } from 'vitest';
import { compile, printed, run, snippetFolder, snippets } from './snippets.ts';

const redis = await redisServer();
vi.stubEnv('REDIS_URL', redis?.url); // which the programs connect to
afterAll(() => redis?.stop());

const folder = snippetFolder('guides');
const pages = [
  'docs/moving-from-go-machinery.md',
  'docs/moving-from-bullmq.md',
  'docs/moving-from-celery.md',
  'packages/lock-eager/README.md',
  'packages/opentelemetry/README.md',
];
const pagesOnRedis = ['packages/broker-redis/README.md', 'packages/backend-redis/README.md'];

function runPrograms(page: string): void {
  const programs = snippets(page);
  expect(programs.length).toBeGreaterThan(0);
  for (const [i, code] of programs.entries()) {
    const expected = printed(code).map((line) => expect.stringMatching(line));
    expect(run(compile(folder, `${basename(page, '.md')}-${i}`, code))).toEqual(expected);
  }
}

it.each(pages)('runs the programs of %s', runPrograms, 60_000);
it.skipIf(redis === undefined).each(pagesOnRedis)('runs the programs of %s', runPrograms, 60_000);

it('runs the tests of the guide on testing', { timeout: 60_000 }, () => {
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
