// Clients and workers of Go Machinery and of this project, in every mix, with messages in one Redis and states in one MongoDB. Each
// pair has a queue of its own.

import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { buildGo, mongoServer, redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { casesOf } from '../src/cases.ts';
import { findGoOrSay, type Language, Peers } from './peers.ts';

const [redis, mongo] = await Promise.all([redisServer(), mongoServer()]);
const isThere = redis !== undefined && mongo !== undefined;
const go = isThere ? findGoOrSay() : undefined;
const folder = mkdtempSync(join(tmpdir(), 'machinery-interop-'));
const peers = new Peers();
const cases = casesOf(new Server({ broker: new MemoryBroker(), backend: new MemoryBackend() }), 0);

/** What a Go worker may fail: the README says why. */
const failsInGo = ['chord order', 'unsupported type'];

const languages: readonly Language[] = go === undefined ? ['TypeScript'] : ['TypeScript', 'Go'];
const fleets: readonly (readonly Language[])[] =
  go === undefined ? [['TypeScript']] : [['TypeScript'], ['Go'], ['Go', 'TypeScript']];
const pairs = languages.flatMap((client) => fleets.map((workers) => ({ client, workers })));

describe.skipIf(!isThere)('interop on Redis and MongoDB', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    if (go !== undefined) await buildGo(go, '.');
  }, 600_000);

  afterAll(async () => {
    await peers.end();
    await Promise.all([redis, mongo].map((server) => server?.stop()));
    rmSync(folder, { recursive: true, force: true });
  });

  it.concurrent.each(pairs)('a $client client and workers $workers agree', async ({ client, workers }) => {
    const { failed, code } = await run(client, workers);
    const expected = workers.includes('Go') ? failed.filter(({ name }) => !failsInGo.includes(name)) : failed;
    expect(expected).toEqual([]);
    expect(code).toBe(failed.length === 0 ? 0 : 1);
  });
});

/** Those that Go cannot take part in: they would end its worker's consumer, or its client. */
function isPossible(name: string, client: Language, workers: readonly Language[]): boolean {
  if (name === 'max uint64') return client !== 'Go' && !workers.includes('Go');
  return name !== 'bytes' || client !== 'Go' || !workers.includes('Go');
}

async function run(client: Language, workers: readonly Language[]) {
  const where = ['--broker', redis?.url as string, '--backend', mongo?.url as string];
  const flags = [...where, '--queue', `interop-${randomUUID()}`];
  const start = (language: Language, verb: string, ...more: string[]) =>
    peers.start(language, [verb, ...flags, ...more], { TMPDIR: folder });
  const working = workers.map((language) => start(language, 'worker'));
  await Promise.all(working.map((worker) => worker.printed('Waiting for messages')));
  const only = cases.map(({ name }) => name).filter((name) => isPossible(name, client, workers));
  const sending = start(client, 'client', '--timeout', '10s', '--only', only.join(','));
  const code = await sending.ended;
  const lines = sending.stdout.split('\n').filter((line) => line.startsWith('{'));
  const ended = lines.map((line) => JSON.parse(line) as { case: string; ok: boolean; got: string });
  for (const worker of working) worker.kill();
  expect(
    ended.map((line) => line.case),
    sending.stderr,
  ).toEqual(only);
  return { code, failed: ended.filter(({ ok }) => !ok).map((line) => ({ name: line.case, got: line.got })) };
}
