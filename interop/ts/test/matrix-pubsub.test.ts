// Clients and workers of Go Machinery and of this project, in every mix, on one Pub/Sub with states in Redis. Each pair has a topic
// and a subscription of its own. In Pub/Sub nothing is delayed: Go's producers hold what is for later, and our workers do.

import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PubSubBroker } from '@machinery/broker-pubsub';
import { buildGo, pubsubServer, redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findGoOrSay, type Language, Peers } from './peers.ts';

const [pubsub, redis] = [await pubsubServer(), await redisServer()];
const go = pubsub && redis && findGoOrSay();
const folder = mkdtempSync(join(tmpdir(), 'machinery-interop-'));
const peers = new Peers();
const projectId = 'interop';
const clientConfig = { apiEndpoint: pubsub?.host ?? '', emulatorMode: true };

const languages: readonly Language[] = go === undefined ? ['TypeScript'] : ['TypeScript', 'Go'];
const fleets: readonly (readonly Language[])[] =
  go === undefined ? [['TypeScript']] : [['TypeScript'], ['Go'], ['Go', 'TypeScript']];
const pairs = languages.flatMap((client) => fleets.map((workers) => ({ client, workers })));

/** A Go worker runs at once what our client delays. */
const mayFail = (client: Language, workers: readonly Language[]) =>
  client === 'TypeScript' && workers.includes('Go') ? ['eta'] : [];

describe.skipIf(pubsub === undefined || redis === undefined)('interop on Pub/Sub', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    if (go !== undefined) await buildGo(go, '.');
  }, 600_000);

  afterAll(async () => {
    await peers.end();
    await Promise.all([pubsub?.stop(), redis?.stop()]);
    rmSync(folder, { recursive: true, force: true });
  });

  describe.concurrent('with states in Redis', () => {
    it.each(pairs)('a $client client and workers $workers agree', async ({ client, workers }) => {
      const { failed, code } = await run(client, workers);
      expect(failed.filter((name) => !mayFail(client, workers).includes(name))).toEqual([]);
      if (client === 'TypeScript' && workers.every((worker) => worker === 'Go')) expect(failed).toEqual(['eta']);
      expect(code).toBe(failed.length === 0 ? 0 : 1);
    });
  });
});

async function run(client: Language, workers: readonly Language[]) {
  const queue = `interop-${randomUUID()}`;
  await prepare(queue);
  const flags = ['--broker', `pubsub://${projectId}/${queue}`, '--backend', redis?.url as string, '--queue', queue];
  const start = (language: Language, verb: string, ...more: string[]) =>
    peers.start(language, [verb, ...flags, ...more], { TMPDIR: folder, PUBSUB_EMULATOR_HOST: pubsub?.host });
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

/** Go wants them to be there. */
async function prepare(queue: string): Promise<void> {
  const broker = new PubSubBroker({ projectId, clientConfig, createMissing: true });
  await broker.consume({ queue, tag: 'prepare', slots: 1, maxInHand: 1 });
  await broker.close();
}
