// Clients and workers of Go Machinery and of this project, in every mix, on one RabbitMQ: as the broker, with states in Redis, and
// as both. Each pair has a binding key of its own.

import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildGo, rabbitServer, redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findGoOrSay, type Language, Peers } from './peers.ts';

const [rabbit, redis] = [await rabbitServer(), await redisServer()];
const go = rabbit && redis && findGoOrSay();
const folder = mkdtempSync(join(tmpdir(), 'machinery-interop-'));
const peers = new Peers();

/** What may fail with a Go worker, as on Redis, and with anything of Go where states are in RabbitMQ: see the README. */
const failsInGo = ['unsupported type'];
const failsWithGo = ['chord order', 'chord of 50'];
const statesInRabbit = [
  'task',
  'split',
  'just error fails',
  'two values',
  'max int64',
  'bytes',
  'retry',
  'retry later',
  'eta',
  'success callback',
  'error callback',
  'chain',
  'group',
  'chord',
  'chord of 50',
  'chord order',
  'chord immutable callback',
  'chord member fails',
];

const languages: readonly Language[] = go === undefined ? ['TypeScript'] : ['TypeScript', 'Go'];
const fleets: readonly (readonly Language[])[] =
  go === undefined ? [['TypeScript']] : [['TypeScript'], ['Go'], ['Go', 'TypeScript']];
const pairs = languages.flatMap((client) => fleets.map((workers) => ({ client, workers })));

describe.skipIf(rabbit === undefined || redis === undefined)('interop on RabbitMQ', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    if (go !== undefined) await buildGo(go, '.');
  }, 600_000);

  afterAll(async () => {
    await peers.end();
    await Promise.all([rabbit?.stop(), redis?.stop()]);
    rmSync(folder, { recursive: true, force: true });
  });

  describe.concurrent.each([
    ['with states in Redis', () => redis?.url as string, []],
    ['with states in RabbitMQ', () => rabbit?.url as string, statesInRabbit],
  ] as const)('%s', (_, backend, only) => {
    it.each(pairs)('a $client client and workers $workers agree', async ({ client, workers }) => {
      const { failed, code } = await run(client, workers, backend(), only);
      const may = [
        ...(workers.includes('Go') ? failsInGo : []),
        ...(only.length > 0 && [client, ...workers].includes('Go') ? failsWithGo : []),
      ];
      const expected = failed.filter((name) => !may.includes(name));
      expect(expected).toEqual([]);
      expect(code).toBe(failed.length === 0 ? 0 : 1);
    });
  });
});

async function run(client: Language, workers: readonly Language[], backend: string, only: readonly string[]) {
  const id = randomUUID();
  const where = ['--broker', rabbit?.url as string, '--backend', backend, '--queue', `interop-${id}`];
  const flags = [...where, '--exchange', 'interop', '--binding', `key-${id}`];
  const start = (language: Language, verb: string, ...more: string[]) =>
    peers.start(language, [verb, ...flags, ...more], { TMPDIR: folder });
  const working = workers.map((language) => start(language, 'worker'));
  await Promise.all(working.map((worker) => worker.printed('Waiting for messages')));
  const sending = start(client, 'client', '--timeout', '10s', '--only', only.join(','));
  const code = await sending.ended;
  const lines = sending.stdout.split('\n').filter((line) => line.startsWith('{'));
  if (lines.length === 0) throw new Error(`The client ran no case:\n${sending.stderr}`);
  const cases = lines.map((line) => JSON.parse(line) as { case: string; ok: boolean });
  if (only.length > 0) expect(cases).toHaveLength(only.length);
  for (const worker of working) worker.kill();
  return { code, failed: cases.filter(({ ok }) => !ok).map((line) => line.case) };
}
