// Counts what a store is asked, from the first send to the last settlement, by a sender and a worker with clients of their own in one
// process. The other half, messages or states, is in memory and costs nothing.

import { setTimeout as sleep } from 'node:timers/promises';
import { type AsyncResult, chord, defineTask, int64, rest, Server, silentLogger } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { type Machine, machine } from '../machine.ts';
import { queue, type StartedStore, type Store } from './stores.ts';

export interface RequestSizes {
  /** Tasks that are sent and awaited one after another. */
  readonly alone: number;
  /** Tasks that are sent together. */
  readonly together: number;
  /** Members of a chord, and how many chords. */
  readonly members: number;
  readonly chords: number;
}

interface Row {
  readonly store: string;
  readonly request: string;
  /** For a task that is sent and awaited while there is nothing else, by a worker at concurrency 10. */
  readonly alone: number;
  /** For each of many tasks that are sent together and run at concurrency 100; nobody waits for their results. */
  readonly together: number;
  /** For a chord in all: its members and its callback, whose result is awaited, at concurrency 10. */
  readonly chord: number;
}

export interface RequestRun {
  readonly date: string;
  readonly machine: Machine;
  readonly sizes: RequestSizes;
  readonly rows: readonly Row[];
}

export const fullSizes: RequestSizes = { alone: 200, together: 1_000, members: 100, chords: 10 };
export const quickSizes: RequestSizes = { alone: 50, together: 1_000, members: 100, chords: 3 };

export async function measureRequests(
  stores: readonly Store[],
  sizes: RequestSizes,
  log: (line: string) => void,
): Promise<RequestRun> {
  const date = new Date().toISOString();
  const rows: Row[] = [];
  for (const store of stores) {
    const started = await store.start();
    if (started === undefined) continue;
    try {
      const row = await measure(store, started, sizes);
      rows.push(row);
      log(`${row.store}: alone ${row.alone}, together ${row.together}, a chord ${row.chord}`);
    } finally {
      await started.stop();
    }
  }
  return { date, machine: machine(), sizes, rows };
}

const timeoutMs = 60_000;
const add = defineTask('add', { args: [int64, int64], returns: int64 });
const total = defineTask('total', { args: rest(int64), returns: int64 });

async function measure({ name, request }: Store, store: StartedStore, sizes: RequestSizes): Promise<Row> {
  const [broker, backend] = [new MemoryBroker(), new MemoryBackend()];
  const open = () =>
    new Server({
      broker: store.broker?.() ?? broker,
      backend: store.backend?.() ?? backend,
      defaultQueue: queue,
      logger: silentLogger,
    });
  const [sender, server] = [open(), open()];
  let ran = 0;
  server.handle(add, (_task, a, b) => {
    ran++;
    return a + b;
  });
  server.handle(total, (_task, ...terms) => terms.reduce((a, b) => a + b, 0));

  /** What `work` costs, until its worker has stopped. */
  const countOf = async (work: () => Promise<void>): Promise<number> => {
    const before = await store.requests();
    await work();
    return (await store.requests()) - before;
  };
  const withWorker = async (concurrency: number, work: () => Promise<void>): Promise<void> => {
    const worker = server.newWorker('worker', { concurrency });
    await worker.start();
    await work();
    await worker.quit();
  };
  const alone = async (tasks: number) => {
    for (let i = 0; i < tasks; i++) expect(await (await sender.send(add(i, 1))).get({ timeoutMs }), i + 1);
  };
  const chords = async (count: number) => {
    const { members } = sizes;
    for (let i = 0; i < count; i++) {
      const sent = await sender.send(
        chord(
          Array.from({ length: members }, (_, j) => add(j, 1)),
          total.partial(),
        ),
      );
      expect(await sent.get({ timeoutMs }), (members * (members + 1)) / 2);
    }
  };

  try {
    await withWorker(10, () => alone(5)); // connects, and makes what is not there
    const ofAlone = await countOf(() => withWorker(10, () => alone(sizes.alone)));
    ran = 0;
    let sent: readonly AsyncResult<number>[] = [];
    const ofTogether = await countOf(async () => {
      sent = await Promise.all(Array.from({ length: sizes.together }, (_, i) => sender.send(add(i, 1))));
      await withWorker(100, async () => {
        while (ran < sizes.together) await sleep(1);
      });
    });
    expect(ran, sizes.together);
    for (const [i, result] of sent.entries()) expect(await result.get({ timeoutMs }), i + 1);
    const ofChords = await countOf(() => withWorker(10, () => chords(sizes.chords)));
    return {
      store: name,
      request,
      alone: ofAlone / sizes.alone,
      together: ofTogether / sizes.together,
      chord: ofChords / sizes.chords,
    };
  } finally {
    await Promise.all([sender.close(), server.close()]);
  }
}

function expect(found: number, expected: number): void {
  if (found !== expected) throw new Error(`Expected ${expected}, got ${found}`);
}
