// Clients and workers of Go Machinery and of this project, in every mix, with messages in one Redis and states in two memcacheds, on
// which both must place the same keys. Each pair has a database of its own in Redis.

import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { redisServer, startMemcached } from '@machinery/services';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildGoPeer, findGo, type Language, Peers } from './peers.ts';

const [redis, first, second] = await Promise.all([redisServer(), startMemcached(), startMemcached()]);
const isThere = redis !== undefined && first !== undefined && second !== undefined;
const go = isThere ? findGo() : undefined;
const folder = mkdtempSync(join(tmpdir(), 'machinery-interop-'));
const peers = new Peers();

/** What a Go worker may fail, as on Redis: see the README. */
const failsInGo = ['unsupported type'];

/** What a Go program prints when a memcached was silent for 100 ms, which cannot be set. Its worker then loses messages. */
const goTimeout = 'i/o timeout';
const tooBusy = 'The machine is too busy for the 100 ms that Go gives Memcached';

const languages: readonly Language[] = go === undefined ? ['TypeScript'] : ['TypeScript', 'Go'];
const fleets: readonly (readonly Language[])[] =
  go === undefined ? [['TypeScript']] : [['TypeScript'], ['Go'], ['Go', 'TypeScript']];
/** Go alone is Go's affair: its workers race for the chord, and may lose it. */
const isOurs = ({ client, workers }: { client: Language; workers: readonly Language[] }) =>
  client === 'TypeScript' || workers.includes('TypeScript');
const pairs = languages.flatMap((client) => fleets.map((workers) => ({ client, workers }))).filter(isOurs);

describe.skipIf(!isThere)('interop on Redis and Memcached', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    if (go !== undefined) await buildGoPeer(go);
  }, 600_000);

  afterAll(async () => {
    await peers.end();
    await Promise.all([redis, first, second].map((server) => server?.stop()));
    rmSync(folder, { recursive: true, force: true });
  });

  it.concurrent.for(pairs.map((pair, i) => ({ ...pair, database: i + 1 })))(
    'a $client client and workers $workers agree',
    async ({ client, workers, database }, { skip }) => {
      const { failed, code } = await run(client, workers, database, () => skip(tooBusy));
      const expected = workers.includes('Go') ? failed.filter(({ name }) => !failsInGo.includes(name)) : failed;
      expect(expected).toEqual([]);
      expect(code).toBe(failed.length === 0 ? 0 : 1);
    },
  );
});

async function run(client: Language, workers: readonly Language[], database: number, skip: () => never) {
  const broker = new URL(redis?.url as string);
  broker.pathname = String(database);
  const backend = `${first?.url},${second?.url.replace('memcache://', '')}`;
  const flags = ['--broker', broker.href, '--backend', backend, '--queue', `interop-${randomUUID()}`];
  const start = (language: Language, verb: string, ...more: string[]) =>
    peers.start(language, [verb, ...flags, ...more], { TMPDIR: folder });
  const working = workers.map((language) => start(language, 'worker'));
  await Promise.all(working.map((worker) => worker.printed('Waiting for messages')));
  const sending = start(client, 'client', '--timeout', '10s');
  const timedOut = working.map((worker) => worker.printed(goTimeout).then(() => 'timed out' as const));
  const code = await Promise.any([sending.ended, ...timedOut]);
  for (const peer of [sending, ...working]) peer.kill();
  if (code === 'timed out' || sending.stdout.includes(goTimeout)) skip();
  const lines = sending.stdout.split('\n').filter((line) => line.startsWith('{'));
  if (lines.length === 0) throw new Error(`The client ran no case:\n${sending.stderr}`);
  const cases = lines.map((line) => JSON.parse(line) as { case: string; ok: boolean; got: string });
  return { code, failed: cases.filter(({ ok }) => !ok).map((line) => ({ name: line.case, got: line.got })) };
}
