// A worker and a sender of each language on one Redis, by the script of the example.

import { delimiter, dirname } from 'node:path';
import process from 'node:process';
import { findGo, missing, startRedis } from '@machinery/services';
import { afterAll, expect, it } from 'vitest';
import { documentedOutput, runDocumented } from './documented.ts';

const redis = await startRedis(); // of its own: the Go worker serves its default queue
afterAll(() => redis?.stop());
const go = findGo() ?? missing('Go', 'install Go >= 1.24');

// The first time, all modules are compiled.
it.skipIf(redis === undefined || go === undefined)('sends tasks both ways', { timeout: 600_000 }, async () => {
  const PATH = [dirname(process.execPath), dirname(go as string), process.env.PATH].join(delimiter);
  const output = await runDocumented('go-and-node', { ...process.env, PATH, REDIS_URL: redis?.url });
  expect(output).toMatch(documentedOutput('go-and-node'));
});
