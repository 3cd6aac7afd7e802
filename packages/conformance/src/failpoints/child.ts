// The child program: one worker that runs a scenario's tasks, and dies at a failpoint when it is given one. It reports
// what it does on its standard output (journal.ts) and ends when its standard input does.

import { errorText, type Logger, Server, silentLogger } from '@machinery/core';
import { loadAdapters } from './adapters.ts';
import { armFailpoint } from './failing-adapters.ts';
import type { Failpoint } from './failpoint.ts';
import { journaled, report } from './journal.ts';
import { perform, scenarios } from './scenarios.ts';

/** The child's only argument, as JSON. */
export interface ChildConfig {
  readonly adaptersModule: string;
  readonly queue: string;
  /** The name of a scenario. */
  readonly scenario: string;
  /** Absent: the worker lives on. */
  readonly failpoint?: Failpoint;
}

const { adaptersModule, queue, scenario, failpoint } = JSON.parse(process.argv[2] ?? '{}') as ChildConfig;
const { tasks = {}, chord } = scenarios.find(({ name }) => name === scenario) ?? {};
const place = chord?.members.indexOf(failpoint?.task ?? '') ?? -1;
const before = chord?.members.slice(0, Math.max(0, place)) ?? [];

const module = await loadAdapters(adaptersModule);
const adapters = journaled({
  broker: await module.createBroker(queue),
  backend: await module.createBackend(queue),
});
const armed = failpoint && armFailpoint(adapters, failpoint, before, () => report({ event: 'killed', task: '' }));
const { broker, backend } = armed ?? adapters;

const log = (message: string) => process.stderr.write(`${message}\n`);
const logger: Logger = { ...silentLogger, warn: log, error: log };
const server = new Server({ broker, backend, defaultQueue: queue, logger });

/** Until the process is killed. */
const never = new Promise<never>(() => {});

for (const [name, plan] of Object.entries(tasks)) {
  server.registerTask(name, async (...args) => {
    report({ event: 'run', task: name });
    if (armed?.stalls('after-state:STARTED')) await never;
    return perform(plan, name, args);
  });
}

const worker = server.newWorker(`failpoints-${process.pid}`, {
  prefetch: 0, // a point is about what is in hand
  concurrency: failpoint?.task === undefined ? 10 : 1,
  preTaskHandler: () => (armed?.stalls('after-state:RECEIVED') ? never : undefined),
});

process.stdin.resume().once('end', () => {
  server.close().catch((error) => {
    log(`The server was not closed cleanly: ${errorText(error)}`);
    process.exitCode = 1;
  });
});
await worker.start();
