// Clients and workers of Go Machinery and of this project, in every mix, on one Redis. All pairs run at once, each in a
// database of its own: Go's delayed tasks and its mutex for chords have the same names in every queue.

import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildGo, redisServer } from '@machinery/services';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findGoOrSay, type Language, type Peer, Peers } from './peers.ts';

/** What Go with Go fails, and why. Pairs with a Go worker may fail these, too, and nothing else. */
const failsInGo: Readonly<Record<string, string>> = {
  'unsupported type':
    'The case before it, a wrong type, ends the consumer of a Go worker. What reads the queue for that consumer goes on and takes this message, and nobody runs it.',
};

interface Pair {
  readonly client: Language;
  readonly workers: readonly Language[];
}

interface CaseLine {
  readonly case: string;
  readonly ok: boolean;
  readonly got: string;
  readonly want: string;
}

interface Run {
  /** Where it took place. */
  readonly flags: readonly string[];
  readonly code: number | null;
  /** What the client printed, without the times. */
  readonly lines: readonly string[];
  readonly failed: readonly CaseLine[];
  readonly workers: readonly Peer[];
}

const redis = await redisServer();
const go = redis && findGoOrSay();
const folder = mkdtempSync(join(tmpdir(), 'machinery-interop-'));
const peers = new Peers();
const runs = new Map<Pair, Promise<Run>>();

const withoutGo: Pair = { client: 'TypeScript', workers: ['TypeScript'] };
const goWithGo: Pair = { client: 'Go', workers: ['Go'] };
const goOnTypeScript: Pair = { client: 'Go', workers: ['TypeScript'] };
const mixes: readonly Pair[] = [
  { client: 'TypeScript', workers: ['Go'] },
  { client: 'Go', workers: ['Go', 'TypeScript'] },
  { client: 'TypeScript', workers: ['Go', 'TypeScript'] },
];
const pairs = go === undefined ? [withoutGo] : [withoutGo, goWithGo, goOnTypeScript, ...mixes];

describe.skipIf(redis === undefined)('interop on Redis', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    if (go !== undefined) await buildGo(go, '.');
    for (const [i, pair] of pairs.entries()) {
      const run = runPair(pair, i + 1);
      run.catch(() => {}); // awaited by its test
      runs.set(pair, run);
    }
  }, 600_000);

  afterAll(async () => {
    await peers.end();
    await redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const passesAll = async (pair: Pair) => {
    const { code, failed } = await runOf(pair);
    expect(failed).toEqual([]);
    expect(code).toBe(0);
  };

  it(`${title(withoutGo)} passes all cases`, () => passesAll(withoutGo));

  describe.skipIf(go === undefined)('with Go', () => {
    it(`${title(goWithGo)} fails what is known to fail`, async () => {
      const { code, failed } = await runOf(goWithGo);
      expect(failed.map((line) => line.case)).toEqual(Object.keys(failsInGo));
      expect(code).toBe(1);
    });

    it(`${title(goOnTypeScript)} passes all cases`, () => passesAll(goOnTypeScript));

    it.each(mixes.map((pair) => [title(pair), pair] as const))('%s fails nothing else', async (_, pair) => {
      const { code, failed, workers } = await runOf(pair);
      expect(failed.filter((line) => !Object.hasOwn(failsInGo, line.case))).toEqual([]);
      expect(code).toBe(failed.length === 0 ? 0 : 1);
      for (const worker of workers) expect(worker.stdout).toContain('Received new message'); // each had its share
    });

    it('the two clients print the same', async () => {
      const [ours, theirs] = await Promise.all([runOf(withoutGo), runOf(goOnTypeScript)]);
      expect(ours.lines).toEqual(theirs.lines);
    });

    it.each([
      ['TypeScript', withoutGo],
      ['Go', goWithGo],
    ] as const)('both print the same of what a %s worker stored', async (_, pair) => {
      const { flags, workers } = await runOf(pair);
      const received = workers.flatMap(({ stdout }) => [
        ...stdout.matchAll(/Received new message: .*?(task_[-\da-f]+)/g),
      ]);
      const uuids = new Set(received.map(([, uuid = '']) => uuid));
      const print = async (language: Language) => {
        const peer = peers.start(language, ['state', ...flags, ...uuids]);
        expect(await peer.ended).toBe(0);
        return peer.stdout.replace(/,"Attempt":\d+/g, ''); // which is ours alone
      };
      const [ours, theirs] = await Promise.all([print('TypeScript'), print('Go')]);
      expect(ours).toBe(theirs);
      expect(ours).toContain('"State":"SUCCESS"');
    });
  });
});

function title({ client, workers }: Pair): string {
  return `A ${client} client with a ${workers.join(' and a ')} worker`;
}

function runOf(pair: Pair): Promise<Run> {
  return runs.get(pair) as Promise<Run>;
}

async function runPair(pair: Pair, database: number): Promise<Run> {
  const url = new URL(redis?.url as string);
  url.pathname = String(database);
  const flags = ['--broker', url.href, '--backend', url.href, '--queue', `interop-${randomUUID()}`];
  const start = (language: Language, verb: string, ...more: string[]) =>
    peers.start(language, [verb, ...flags, ...more], { TMPDIR: folder });
  const workers = pair.workers.map((language) => start(language, 'worker'));
  await Promise.all(workers.map((worker) => worker.printed('Waiting for messages')));
  const client = start(pair.client, 'client', '--timeout', '10s');
  const code = await client.ended;
  const lines = client.stdout.trimEnd().split('\n');
  const cases = lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as CaseLine);
  if (cases.length === 0) throw new Error(`The client ran no case:\n${client.stderr}`);
  return {
    flags,
    code,
    lines: lines.map((line) => line.replace(/"ms":\d+/, '"ms":0')),
    failed: cases.filter(({ ok }) => !ok),
    workers,
  };
}
