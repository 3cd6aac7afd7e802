// One crash: sends a scenario's workflow, lets a worker die at a failpoint and another one carry on (in this process: that is quicker to start),
// and asserts that every task has ended as it must and ran as often as `allowed.ts` says.
// Invariant: runs are counted when no message of the workflow is left, so that none can be added any more.

import assert, { AssertionError } from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { errorText, Server, silentLogger, type TaskState } from '@machinery/core';
import { within } from '../runner.ts';
import { type AdaptersModule, loadAdapters } from './adapters.ts';
import { allowedAt, type Extra, wrongRuns } from './allowed.ts';
import { Child } from './child-process.ts';
import { describeFailpoint, type Failpoint } from './failpoint.ts';
import type { Entry } from './journal.ts';
import { laterThan, type Plan, type Scenario, sendScenario } from './scenarios.ts';
import { startWorker, type WorkerConfig } from './worker.ts';

export interface CrashOptions {
  /** The file URL of an AdaptersModule. */
  readonly adapters: string;
  /** The longest that what a dead worker had in hand takes to come again, in milliseconds. */
  readonly redeliveryMs: number;
  /** The longest that each step may take besides, in milliseconds. */
  readonly patienceMs: number;
}

/** Rejects with an AssertionError that ends in what both workers did. */
export async function crash(scenario: Scenario, failpoint: Failpoint, options: CrashOptions): Promise<void> {
  const module = await loadAdapters(options.adapters);
  const run = new Crash(scenario, failpoint, options, module);
  try {
    await run.carryOut();
  } catch (error) {
    throw new AssertionError({ message: `${errorText(error)}\n${run.trace()}` });
  } finally {
    await run.cleanUp();
  }
}

class Crash {
  readonly #scenario: Scenario;
  readonly #failpoint: Failpoint;
  readonly #options: CrashOptions;
  readonly #module: AdaptersModule;
  readonly #queue = `failpoints-${randomUUID()}`;
  #dying: Child | undefined;
  readonly #next: Entry[] = [];
  /** What was logged while the next worker ran. */
  #warnings = '';
  readonly #servers: Server[] = [];
  #onEntry: () => void = () => {};

  constructor(scenario: Scenario, failpoint: Failpoint, options: CrashOptions, module: AdaptersModule) {
    this.#scenario = scenario;
    this.#failpoint = failpoint;
    this.#options = options;
    this.#module = module;
  }

  async carryOut(): Promise<void> {
    const { patienceMs } = this.#options;
    const server = await this.#newServer();
    const uuids = await within(patienceMs, 'the workflow to be sent', sendScenario(server, this.#scenario));

    this.#dying = new Child({ ...this.#config(), failpoint: this.#failpoint }, () => this.#onEntry());
    const reached = `the worker to die ${describeFailpoint(this.#failpoint)}`;
    assert.equal((await within(patienceMs, reached, this.#dying.ended)).signal, 'SIGKILL', `Expected ${reached}`);

    const next = await within(patienceMs, 'the next worker to start', this.#startNext());
    await this.#recovered(server, uuids);
    this.#checkRuns(server.backend.capabilities.readConsumes === true);
    await within(patienceMs, 'the worker to stop', next.close());
    const left = await server.broker.pendingMessages?.(this.#queue, 1);
    assert.deepEqual(left ?? [], [], 'Expected no message to come back when the worker has stopped');
  }

  /** Resolves when all tasks have ended as they must and no message is left. */
  async #recovered(server: Server, uuids: ReadonlyMap<string, string>): Promise<void> {
    const recoveryMs = this.#options.patienceMs + this.#options.redeliveryMs;
    const ending = Object.entries(this.#scenario.tasks).filter(([, { ends }]) => ends !== undefined);
    await Promise.all(
      ending.map(async ([name, plan]) => {
        const result = server.result(uuids.get(name) as string);
        const ended = result.get().catch(() => {}); // a failure may be what is expected
        await within(recoveryMs, `task ${name} to end`, ended);
        checkEnd(name, plan, await result.state());
      }),
    );
    await within(recoveryMs, 'all messages to be gone', this.#allSettled());
    if (server.backend.capabilities.readConsumes === true) return;
    for (const [name, plan] of ending) {
      checkEnd(name, plan, await server.result(uuids.get(name) as string).state()); // it may have run again
    }
  }

  async cleanUp(): Promise<void> {
    await Promise.all([this.#dying?.kill(), ...this.#servers.map((server) => server.close())]);
  }

  trace(): string {
    const { entries = [], errors = '' } = this.#dying ?? {};
    return `${trace('The worker that died', entries, errors)}\n${trace('The next worker', this.#next, this.#warnings)}`;
  }

  async #newServer(): Promise<Server> {
    await this.#module.prepareQueue?.(this.#queue);
    const broker = await this.#module.createBroker(this.#queue);
    const backend = await this.#module.createBackend(this.#queue);
    const server = new Server({ broker, backend, defaultQueue: this.#queue, logger: silentLogger });
    this.#servers.push(server);
    return server;
  }

  #config(): WorkerConfig {
    return { adaptersModule: this.#options.adapters, queue: this.#queue, scenario: this.#scenario.name };
  }

  async #startNext(): Promise<Server> {
    const report = (entry: Entry) => {
      this.#next.push(entry);
      this.#onEntry();
    };
    const server = await startWorker(this.#config(), report, (warning) => {
      this.#warnings += `${warning}\n`;
    });
    this.#servers.push(server);
    return server;
  }

  /**
   * Resolves when as many messages are settled as were published, and the worker has none in hand: what a task published may be
   * settled before its publisher is told of it. A task publishes what follows before it is settled.
   */
  #allSettled(): Promise<void> {
    return new Promise((resolve) => {
      this.#onEntry = () => {
        const count = (wanted: string, entries = this.#entries()) =>
          entries.filter(({ event }) => event === wanted).length;
        const inHand = count('take', this.#next) - count('settle', this.#next) - count('requeue', this.#next);
        if (inHand <= 0 && count('settle') >= this.#scenario.sent.length + count('publish')) resolve();
      };
      this.#onEntry();
    });
  }

  #entries(): Entry[] {
    return [...(this.#dying?.entries ?? []), ...this.#next];
  }

  #checkRuns(blind: boolean): void {
    const { tasks, sent, chord } = this.#scenario;
    const { task, attempt = 1, unacked } = this.#failpoint;
    if (blind && unacked) return; // all of it runs again, and so does what it sends
    const retried = task !== undefined && tasks[task]?.runs === 2 && attempt === 1;
    const allowance = allowedAt(this.#failpoint, retried, blind);
    const inHand = task === undefined ? sent : [task];
    const extras = new Map<string, Extra | undefined>();
    for (const name of inHand) {
      if (chord?.members.includes(name)) {
        for (const it of [chord.callback, ...laterThan(this.#scenario, chord.callback)])
          extras.set(it, allowance.chord);
      }
      for (const it of laterThan(this.#scenario, name)) extras.set(it, allowance.later);
    }
    for (const name of inHand) extras.set(name, allowance.own);
    for (const [name, { runs = 1 }] of Object.entries(tasks)) {
      const count = this.#entries().filter((entry) => entry.event === 'run' && entry.task === name).length;
      const extra = runs === 0 ? undefined : extras.get(name);
      const wrong = wrongRuns(name, count, runs, extra, this.#failpoint);
      if (wrong !== undefined) assert.fail(wrong);
    }
  }
}

/** What a worker reported, for an error message. */
function trace(name: string, entries: readonly Entry[], errors: string): string {
  const lines = entries.map(({ event, task, detail = '' }) => `  ${event} ${task} ${detail}`.trimEnd());
  return [`${name}:`, ...lines, ...(errors === '' ? [] : [errors.trimEnd()])].join('\n');
}

function checkEnd(name: string, { ends }: Plan, state: TaskState | undefined): void {
  if (ends === undefined) return; // it is never sent
  if ('error' in ends) {
    assert.equal(state?.state, 'FAILURE', `Expected task ${name} to be a FAILURE, got ${state?.state}`);
    assert.match(state.error ?? '', ends.error, `Task ${name} failed in another way: ${state.error}`);
    return;
  }
  const { result } = ends;
  assert.equal(state?.state, 'SUCCESS', `Expected task ${name} to be a SUCCESS, got ${state?.state}: ${state?.error}`);
  const value = String(state.results?.[0]?.value);
  const fits = typeof result === 'string' ? value === result : result.test(value);
  assert.ok(fits, `Expected the result of task ${name} to be ${result}, got ${value}`);
}
