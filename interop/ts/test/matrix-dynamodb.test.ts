// Clients and workers of Go Machinery and of this project with states in DynamoDB (an emulator) and messages in Redis. Each pair has a
// Redis database of its own: Go's delayed tasks have the same name in every queue.

import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { dynamoServer, redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { casesOf } from '../src/cases.ts';
import { buildGoPeer, findGo, type Language, Peers } from './peers.ts';

/** What a Go client cannot read, whoever stored it: DynamoDB's numbers come to it as float64, texts as string, and it takes neither for an integer. */
const integers = [
  'task',
  'sum',
  'max int64',
  'min int64',
  'max uint64',
  'int64s',
  'retry',
  'retry later',
  'eta',
  'success callback',
  'immutable callback',
  'chain',
  'group',
  'chord',
  'chord of 50',
  'chord immutable callback',
  'chord member fails',
];
/** What it cannot read of a Go worker either, which stores all as text. */
const texts = ['split', 'whole float64', 'float64', 'large float64', 'float32', 'bool', 'bytes', 'strings', 'floats'];
/**
 * What Go's workers get wrong: they hand the texts on to a chord's callback, which takes integers, with the members in any order. That wrong
 * type ends their consumer, as `wrong type` does, and what reads the queue for it swallows messages: see the README.
 */
const failsInGo = ['chord', 'chord of 50', 'chord order', 'unsupported type'];

const allCases = casesOf(new Server({ broker: new MemoryBroker(), backend: new MemoryBackend() }), 0).map(
  ({ name }) => name,
);

const redis = await redisServer();
const dynamo = redis && (await dynamoServer());
const backend = `dynamodb+${dynamo?.endpoint}`;
const go = redis && findGo();
const folder = mkdtempSync(join(tmpdir(), 'machinery-interop-'));
const peers = new Peers();

describe.skipIf(redis === undefined)('interop with states in DynamoDB', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    if (go !== undefined) await buildGoPeer(go);
    const tables = peers.start('TypeScript', ['state', '--backend', backend, '--broker', redis?.url as string, 'none']);
    expect(await tables.ended).toBe(0); // a Go peer does not start without them
  }, 600_000);

  afterAll(async () => {
    await peers.end();
    await Promise.all([redis?.stop(), dynamo?.stop()]);
    rmSync(folder, { recursive: true, force: true });
  });

  describe.concurrent('a TypeScript client', () => {
    it('and a TypeScript worker agree', async () => {
      expect((await run('TypeScript', ['TypeScript'])).failed).toEqual([]);
    });

    it.skipIf(go === undefined).each([
      ['a Go worker', ['Go']],
      ['one of each', ['Go', 'TypeScript']],
    ] as const)('and %s agree: results have their types, though Go stores texts', async (_, workers) => {
      const { names, failed } = await run('TypeScript', workers, failsInGo);
      expect(failed).toEqual([]);
      expect(names).toContain('max uint64');
    });
  });

  describe.skipIf(go === undefined).concurrent('a Go client', () => {
    it('reads all of a TypeScript worker but integers', async () => {
      expect((await run('Go', ['TypeScript'])).failed).toEqual(integers);
    });

    it('reads nothing but texts of a Go worker', async () => {
      const { failed } = await run('Go', ['Go'], failsInGo);
      expect(failed.toSorted()).toEqual([...integers, ...texts].filter((name) => !failsInGo.includes(name)).toSorted());
    });

    it('reads the texts of one of each', async () => {
      const { names, failed } = await run('Go', ['Go', 'TypeScript'], [...integers, ...texts, ...failsInGo]);
      expect(failed).toEqual([]);
      expect(names).toContain('two values');
    });
  });
});

let database = 0;

/** @param without cases that are left out. */
async function run(client: Language, workers: readonly Language[], without: readonly string[] = []) {
  const url = new URL(redis?.url as string);
  url.pathname = String(++database);
  const flags = ['--broker', url.href, '--backend', backend, '--queue', `interop-${randomUUID()}`];
  const start = (language: Language, verb: string, ...more: string[]) =>
    peers.start(language, [verb, ...flags, ...more], { TMPDIR: folder });
  const working = workers.map((language) => start(language, 'worker'));
  await Promise.all(working.map((worker) => worker.printed('Waiting for messages')));
  const wanted = without.length === 0 ? [] : allCases.filter((name) => !without.includes(name));
  const sending = start(client, 'client', '--timeout', '10s', '--only', wanted.join(','));
  const code = await sending.ended;
  for (const worker of working) worker.kill();
  const lines = sending.stdout.split('\n').filter((line) => line.startsWith('{'));
  if (lines.length === 0) throw new Error(`The client ran no case:\n${sending.stderr}`);
  const cases = lines.map((line) => JSON.parse(line) as { case: string; ok: boolean });
  const names = cases.map((line) => line.case);
  if (wanted.length > 0) expect(names).toEqual(wanted);
  const failed = cases.filter(({ ok }) => !ok).map((line) => line.case);
  expect(code).toBe(failed.length === 0 ? 0 : 1);
  return { names, failed };
}
