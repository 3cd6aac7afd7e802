// The command line, the same as that of ../go: `worker` serves the tasks, `client` sends every case and checks what comes
// back, `state UUID...` prints stored states. Exits with 1 when a case failed, with 2 when it could not do what it was told.

import process from 'node:process';
import { parseArgs } from 'node:util';
import { encodeStateCanonical, errorText, Server } from '@machinery/core';
import { createBackend, createBroker } from '@machinery/core/config';
import { runCases } from './client.ts';
import { configOf } from './config.ts';
import { registerTasks } from './tasks.ts';

const redis = 'redis://127.0.0.1:6379';

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`peer: ${errorText(error)}`);
  process.exitCode = 2;
}

async function main(): Promise<number> {
  const { positionals, values: flags } = parseArgs({
    allowPositionals: true,
    options: {
      broker: { type: 'string', default: redis },
      backend: { type: 'string', default: redis },
      queue: { type: 'string', default: 'machinery_tasks' },
      binding: { type: 'string', default: 'machinery_task' },
      exchange: { type: 'string', default: 'machinery_exchange' },
      concurrency: { type: 'string', default: '10' },
      timeout: { type: 'string', default: '20s' },
      endpoint: { type: 'string', default: '' },
      only: { type: 'string', default: '' },
    },
  });
  const [verb = 'client', ...uuids] = positionals;
  const config = configOf(flags);
  const [broker, backend] = await Promise.all([createBroker(config), createBackend(config)]);
  await using server = new Server({ broker, backend, defaultQueue: flags.queue });
  switch (verb) {
    case 'worker':
      await work(server, Number(flags.concurrency));
      return 0;
    case 'client':
      return (await runCases(server, durationMs(flags.timeout), flags.only)) === 0 ? 0 : 1;
    case 'state':
      await printStates(server, uuids);
      return 0;
    default:
      throw new Error(`Expected worker, client or state, got ${verb}`);
  }
}

async function work(server: Server, concurrency: number): Promise<void> {
  registerTasks(server);
  const worker = server.newWorker('ts-peer', {
    concurrency,
    preTaskHandler: ({ name, uuid }) => console.log(`Received new message: ${name} ${uuid}`),
  });
  const started = worker.start().then(() => console.log('[*] Waiting for messages. To exit press CTRL+C'));
  await Promise.all([started, worker.launch()]);
}

async function printStates(server: Server, uuids: readonly string[]): Promise<void> {
  for (const uuid of uuids) {
    const state = await server.result(uuid).state();
    console.log(uuid, state === undefined ? 'null not found' : `${encodeStateCanonical(state)} <nil>`);
  }
}

/** Go's durations, `1m30s`, `1.5s` or `300ms`, in milliseconds. */
function durationMs(text: string): number {
  const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) throw new Error(`Expected a duration like 20s, got ${text}`);
  const parts = text.matchAll(/([\d.]+)([a-z]+)/g);
  return [...parts].reduce((sum, [, count, unit = '']) => sum + Number(count) * (unitMs[unit] ?? 0), 0);
}
