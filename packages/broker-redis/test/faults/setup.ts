// What the fault tests share: a queue of its own for each test, a server that sends to it, and worker processes that are
// started, stopped and killed. All of it ends with the test.

import { randomUUID } from 'node:crypto';
import { RedisBackend } from '@machinery/backend-redis';
import { within } from '@machinery/conformance';
import { defineTask, int64, Server, silentLogger, string } from '@machinery/core';
import { NodeProgram } from '@machinery/services';
import { onTestFinished } from 'vitest';
import { RedisBroker, type RedisBrokerOptions } from '../../src/index.ts';

/** What worker.mjs runs. */
export const work = defineTask('work', { args: [int64], returns: int64 });
/** Ends when its worker is released, with the worker's name. */
export const hold = defineTask('hold', { args: [int64], returns: string });
/** Blocks the event loop for so many milliseconds; returns the worker's name. */
export const block = defineTask('block', { args: [int64], returns: string });
/** Kills its process. */
export const poison = defineTask('poison');
/** An error callback. */
export const told = defineTask('told', { args: [string], returns: string });

/** How long each step may take, in milliseconds. */
export const patienceMs = 20_000;

type Report =
  | { readonly event: 'ready' }
  | { readonly event: 'take'; readonly redelivered: boolean; readonly deliveryCount: number }
  | { readonly event: 'begin'; readonly task: string; readonly args: readonly unknown[] }
  | { readonly event: 'warn'; readonly text: string }
  | { readonly event: 'error'; readonly code?: string };

export interface WorkerSettings {
  readonly name: string;
  /** Where Redis is for this one. Default: where it is for the scene. */
  readonly url?: string;
  readonly commandTimeoutMs?: number;
  readonly concurrency?: number;
  readonly maxDeliveries?: number;
  readonly leaseMs?: number;
  readonly beatMs?: number;
  /** Acks nothing, and is killed when it has claimed the callback of a chord. */
  readonly diesOnClaim?: boolean;
}

export class WorkerProcess {
  readonly reports: Report[] = [];
  readonly program: NodeProgram<Report>;

  constructor(config: unknown, onReport: () => void) {
    this.program = new NodeProgram<Report>({
      program: new URL('worker.mjs', import.meta.url),
      config,
      onReport: (report) => {
        this.reports.push(report);
        onReport();
      },
    });
  }

  of<E extends Report['event']>(event: E): Extract<Report, { event: E }>[] {
    return this.reports.filter((report) => report.event === event) as Extract<Report, { event: E }>[];
  }

  /** The first arguments of the tasks of this name that have begun. */
  begun(task: string): unknown[] {
    return this.of('begin')
      .filter((begin) => begin.task === task)
      .map(({ args }) => args[0]);
  }

  /** What it is to bring about: rejects when it ends before. */
  whileAlive<T>(work: Promise<T>): Promise<T> {
    const ended = this.program.ended.then((how) => {
      throw new Error(`The worker ended: ${how}`);
    });
    return Promise.race([work, ended]);
  }

  /** Lets its `hold` tasks end, those that begin later, too. */
  release(): void {
    this.program.send({});
  }
}

/** One test's queue. */
export class Scene {
  readonly queue = `faults-${randomUUID()}`;
  readonly server: Server;
  readonly workers: WorkerProcess[] = [];
  readonly #url: string;
  readonly #waiting = new Set<() => void>();

  constructor(url: string) {
    this.#url = url;
    this.server = this.newServer();
    onTestFinished(() => Promise.all(this.workers.map(({ program }) => program.kill())).then(() => {}));
  }

  /** A server in this process. */
  newServer(options: RedisBrokerOptions = { url: this.#url }, backendUrl = options.url ?? this.#url): Server {
    const { commandTimeoutMs } = options;
    const backend = new RedisBackend({ url: backendUrl, ...(commandTimeoutMs !== undefined && { commandTimeoutMs }) });
    const broker = this.newBroker(options);
    const server = new Server({ broker, backend, defaultQueue: this.queue, logger: silentLogger });
    onTestFinished(() => server.close());
    return server;
  }

  newBroker(options: RedisBrokerOptions = { url: this.#url }): RedisBroker {
    return new RedisBroker({ ...options, delayedTasksKey: this.#delayedTasksKey });
  }

  /** Resolves when the worker takes messages. */
  async start(settings: WorkerSettings): Promise<WorkerProcess> {
    const { url = this.#url, commandTimeoutMs, leaseMs = 1_500, beatMs = 300, ...worker } = settings;
    const { queue } = this;
    const broker = { leaseMs, beatMs, delayedPollMs: 50, delayedTasksKey: this.#delayedTasksKey };
    const process = new WorkerProcess({ connection: { url, commandTimeoutMs }, broker, queue, worker }, () => {
      for (const look of this.#waiting) look();
    });
    this.workers.push(process);
    await this.reported(`worker ${worker.name} to take messages`, () => process.of('ready').length > 0);
    return process;
  }

  /** Resolves when the workers have reported what makes this true. */
  reported(what: string, isSo: () => boolean): Promise<void> {
    let look = () => {};
    const so = new Promise<void>((resolve) => {
      look = () => {
        if (isSo()) resolve();
      };
      this.#waiting.add(look);
      look();
    });
    return within(patienceMs, what, so).finally(() => this.#waiting.delete(look));
  }

  get #delayedTasksKey(): string {
    return `${this.queue}-delayed`;
  }
}
