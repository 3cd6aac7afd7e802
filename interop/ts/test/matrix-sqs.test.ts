// Clients and workers of Go Machinery and of this project, in every mix, on one SQS with states in Redis. Each pair has a queue of its own.

import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { redisServer, sqsServer } from '@machinery/services';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildGoPeer, findGo, type Language, Peers } from './peers.ts';

const [sqs, redis] = [await sqsServer(), await redisServer()];
const go = redis && findGo();
const folder = mkdtempSync(join(tmpdir(), 'machinery-interop-'));
const peers = new Peers();

/** What a Go worker may fail, as on Redis: see the README. And Go cuts delays to whole seconds, so that its workers are early. */
const failsInGo = ['unsupported type'];
const failsInGoOfGo = [...failsInGo, 'eta'];

const languages: readonly Language[] = go === undefined ? ['TypeScript'] : ['TypeScript', 'Go'];
const fleets: readonly (readonly Language[])[] =
  go === undefined ? [['TypeScript']] : [['TypeScript'], ['Go'], ['Go', 'TypeScript']];
const pairs = languages.flatMap((client) => fleets.map((workers) => ({ client, workers })));

describe.skipIf(redis === undefined)('interop on SQS', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    if (go !== undefined) await buildGoPeer(go);
  }, 600_000);

  afterAll(async () => {
    await peers.end();
    await Promise.all([sqs.stop(), redis?.stop()]);
    rmSync(folder, { recursive: true, force: true });
  });

  it.concurrent.each(pairs)('a $client client and workers $workers agree', async ({ client, workers }) => {
    const { failed, code } = await run(client, workers);
    const mayFail = client === 'Go' ? failsInGoOfGo : failsInGo;
    const expected = workers.includes('Go') ? failed.filter((name) => !mayFail.includes(name)) : failed;
    expect(expected).toEqual([]);
    expect(code).toBe(failed.length === 0 ? 0 : 1);
  });
});

async function run(client: Language, workers: readonly Language[]) {
  const queue = `interop-${randomUUID()}`;
  await sqs.createQueue(queue);
  const flags = [
    '--broker',
    sqs.url,
    '--backend',
    redis?.url as string,
    '--queue',
    queue,
    '--endpoint',
    new URL(sqs.url).origin,
  ];
  const start = (language: Language, verb: string, ...more: string[]) =>
    peers.start(language, [verb, ...flags, ...more], { TMPDIR: folder });
  const working = workers.map((language) => start(language, 'worker'));
  await Promise.all(working.map((worker) => worker.printed('Waiting for messages')));
  const sending = start(client, 'client', '--timeout', '10s');
  const code = await sending.ended;
  const lines = sending.stdout.split('\n').filter((line) => line.startsWith('{'));
  if (lines.length === 0) throw new Error(`The client ran no case:\n${sending.stderr}`);
  const cases = lines.map((line) => JSON.parse(line) as { case: string; ok: boolean });
  for (const worker of working) worker.kill();
  return { code, failed: cases.filter(({ ok }) => !ok).map((line) => line.case) };
}
