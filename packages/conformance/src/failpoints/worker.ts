// One worker that runs a scenario's tasks, and kills its process at a failpoint when it is given one. It reports what it does (journal.ts).

import { errorText, type Logger, Server, silentLogger } from '@machinery/core';
import { loadAdapters } from './adapters.ts';
import { armFailpoint } from './failing-adapters.ts';
import type { Failpoint } from './failpoint.ts';
import { journaled, type Report } from './journal.ts';
import { perform, scenarios } from './scenarios.ts';

export interface WorkerConfig {
  readonly adaptersModule: string;
  readonly queue: string;
  /** The name of a scenario. */
  readonly scenario: string;
  /** Absent: the worker lives on. */
  readonly failpoint?: Failpoint;
}

/** Until the process is killed. */
const never = new Promise<never>(() => {});

/** Answers the server, whose `close` stops the worker. */
export async function startWorker(
  { adaptersModule, queue, scenario, failpoint }: WorkerConfig,
  report: Report,
  log: (message: string) => void,
): Promise<Server> {
  const { tasks = {}, chord } = scenarios.find(({ name }) => name === scenario) ?? {};
  const place = chord?.members.indexOf(failpoint?.task ?? '') ?? -1;
  const before = chord?.members.slice(0, Math.max(0, place)) ?? [];

  const module = await loadAdapters(adaptersModule);
  const made = { broker: await module.createBroker(queue), backend: await module.createBackend(queue) };
  const adapters = journaled(made, report);
  const armed = failpoint && armFailpoint(adapters, failpoint, before, () => report({ event: 'killed', task: '' }));
  const { broker, backend } = armed ?? adapters;

  const logger: Logger = { ...silentLogger, warn: log, error: log };
  const server = new Server({ broker, backend, defaultQueue: queue, logger });
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
  try {
    await worker.start();
  } catch (error) {
    await server.close().catch((closing) => log(`The server was not closed cleanly: ${errorText(closing)}`));
    throw error;
  }
  return server;
}
