// The in-memory engine by itself, without a network: what core costs for a task.
// `npm run bench -- memory [--tasks 100000] [--rounds 5] [--save]`; `--save` keeps the raw numbers in `results/`.

import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { chord, defineTask, int64, rest, Server, silentLogger } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';

const { values } = parseArgs({
  options: {
    tasks: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '5' },
    save: { type: 'boolean', default: false },
  },
});
const tasks = Number(values.tasks);
const rounds = Number(values.rounds);
const add = defineTask('add', { args: [int64, int64], returns: int64 });
const noop = defineTask('noop');
const total = defineTask('total', { args: rest(int64), returns: int64 });

function newServer(): Server {
  const server = new Server({ broker: new MemoryBroker(), backend: new MemoryBackend(), logger: silentLogger });
  server.handle(noop, () => {});
  server.handle(add, (_task, a, b) => a + b);
  server.handle(total, (_task, ...terms) => terms.reduce((a, b) => a + b, 0));
  return server;
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Tasks a second. What the cell before has left is collected first, so that this one does not pay for it. */
async function timed(work: () => Promise<unknown>, count = tasks): Promise<number> {
  collectGarbage();
  const start = performance.now();
  await work();
  return Math.round((count / (performance.now() - start)) * 1_000);
}

/** Sends all, 100 in flight. */
async function enqueue(server: Server): Promise<void> {
  let sent = 0;
  const lane = async () => {
    while (sent < tasks) {
      sent++;
      await server.send(noop());
    }
  };
  await Promise.all(Array.from({ length: 100 }, lane));
}

/** A worker runs what is queued; over when the last state is stored and the last message settled. */
async function drain(server: Server, concurrency: number): Promise<void> {
  const worker = server.newWorker('bench', { concurrency });
  await worker.start();
  while ((await server.pendingTasks(undefined, { limit: 1 })).length > 0)
    await new Promise((resolve) => setTimeout(resolve, 1));
  await worker.quit();
}

/** Every result is awaited, 100 in flight. */
async function endToEnd(server: Server): Promise<void> {
  const worker = server.newWorker('bench', { concurrency: 100 });
  await worker.start();
  let sent = 0;
  const lane = async () => {
    while (sent < tasks) {
      const n = sent++;
      const result = await server.send(add(n, 1));
      if ((await result.get()) !== n + 1) throw new Error(`Wrong result for ${n}`);
    }
  };
  await Promise.all(Array.from({ length: 100 }, lane));
  await worker.quit();
}

/** Sends a chord of `size` members and awaits its callback. */
async function runChord(server: Server, size: number): Promise<void> {
  const members = Array.from({ length: size }, (_, i) => add(i, 1));
  const result = await server.send(chord(members, total.partial()));
  if ((await result.get()) !== (size * (size + 1)) / 2) throw new Error(`Wrong result of a chord of ${size}`);
}

const cells = new Map<string, number[]>();
const record = (cell: string, rate: number) => cells.set(cell, [...(cells.get(cell) ?? []), rate]);

for (let round = 0; round < rounds; round++) {
  for (const concurrency of [1, 10, 100]) {
    const server = newServer();
    const enqueued = await timed(() => enqueue(server));
    const drained = await timed(() => drain(server, concurrency));
    if (concurrency === 100) record('enqueue, 100 in flight', enqueued);
    record(`drain with stored results, concurrency ${concurrency}`, drained);
    await server.close();
  }
  const server = newServer();
  record('end to end with results awaited, 100 in flight', await timed(() => endToEnd(server)));
  await server.close();

  // As many tasks for each size, each on an engine of its own, after a first chord of that size.
  for (const size of [10, 100, 1_000, 10_000]) {
    const chords = newServer();
    await chords.newWorker('bench', { concurrency: 100 }).start();
    await runChord(chords, size);
    const repeats = Math.max(1, Math.round(tasks / size));
    const repeat = async () => {
      for (let i = 0; i < repeats; i++) await runChord(chords, size);
    };
    record(`chord of ${size}`, await timed(repeat, repeats * size));
    await chords.close();
  }
}

const cpu = `${cpus().length} x ${cpus()[0]?.model ?? 'unknown CPU'}`;
console.log(`In-memory engine, ${tasks} tasks, ${rounds} rounds, Node ${process.version}, ${cpu}`);
const sorted = (cell: string) => [...(cells.get(cell) ?? [])].sort((a, b) => a - b);
const median = (cell: string) => sorted(cell)[sorted(cell).length >> 1] ?? Number.NaN;
for (const cell of cells.keys()) {
  console.log(`${cell}: ${median(cell)} tasks/s (${sorted(cell)[0]} to ${sorted(cell).at(-1)})`);
}
const growth = (10 * median('chord of 1000')) / median('chord of 10000');
console.log(`a chord of 10,000 takes ${growth.toFixed(1)} times as long as one of 1,000`);
if (values.save) {
  const folder = fileURLToPath(new URL('../results/', import.meta.url));
  mkdirSync(folder, { recursive: true });
  const file = `memory-node${process.versions.node.split('.')[0]}.json`;
  const tasksPerSecond = Object.fromEntries(cells);
  const raw = { date: new Date().toISOString(), node: process.version, cpu, tasks, tasksPerSecond };
  writeFileSync(`${folder}${file}`, `${JSON.stringify(raw, null, 2)}\n`);
}
