// What the suite of workflows is told, and what its topics are written with.

import type { Backend, Broker } from '@machinery/core';
import type { Runner } from '../runner.ts';
import { Scene } from './scene.ts';

/** A broker and a backend to run workflows on. */
export interface WorkflowsUnderTest {
  /** A new client on the same server, each time it is called, for servers with this default queue. The suite closes what it made. */
  createBroker(defaultQueue: string): Broker | Promise<Broker>;
  /** A new client on the same server, each time it is called. */
  createBackend(): Backend | Promise<Backend>;
  /** Makes what a queue needs before it is used, where the broker does not do so by itself. */
  prepareQueue?(queue: string): Promise<void>;
  /**
   * Whether the backend stores results so that workers can complete chords: reading one leaves it there, or it has `takeGroup`.
   * Default: true.
   * False: only chains and groups are made, at random.
   */
  readonly chords?: boolean;
  /** Whether workers take the states of a group, as the backend declares. Default: false. */
  readonly takesGroups?: boolean;
  /** How long one workflow may take, in milliseconds. Default: 10,000. */
  readonly patienceMs?: number;
  /** How many random workflows are run. Default: 100. */
  readonly runs?: number;
}

/** What each topic of the suite gets. */
export class WorkflowSuite {
  readonly patienceMs: number;
  readonly runs: number;
  readonly chords: boolean;
  readonly takesGroups: boolean;
  #define: Runner['it'] = () => {};
  readonly #runner: Runner;
  readonly #underTest: WorkflowsUnderTest;

  constructor(runner: Runner, underTest: WorkflowsUnderTest) {
    this.#runner = runner;
    this.#underTest = underTest;
    this.patienceMs = underTest.patienceMs ?? 10_000;
    this.runs = underTest.runs ?? 100;
    this.chords = underTest.chords ?? true;
    this.takesGroups = underTest.takesGroups ?? false;
  }

  /** Topics without cases are left out: some runners fail on them. */
  describe(name: string, define: () => void): void {
    const cases: (() => void)[] = [];
    this.#define = (...it) => cases.push(() => this.#runner.it(...it));
    define();
    if (cases.length === 0) return;
    this.#runner.describe(name, () => {
      for (const it of cases) it();
    });
  }

  /**
   * A case for backends that can complete chords: with others there is nothing to see.
   * @param limitMs for cases that take longer than a few workflows.
   */
  it(name: string, run: (scene: Scene) => Promise<void>, limitMs = 5_000 + 4 * this.patienceMs): void {
    if (this.chords) this.#define(name, () => this.inScene(run), limitMs);
  }

  /** Cases that mostly wait for time to pass: the first that is asked for starts them all. */
  together(cases: Readonly<Record<string, (scene: Scene) => Promise<void>>>): void {
    const running = new Map<string, Promise<void>>();
    const start = () => {
      if (running.size > 0) return;
      for (const [each, run] of Object.entries(cases)) {
        const result = this.inScene(run);
        result.catch(() => {}); // told by its own case, which may be later than it fails
        running.set(each, result);
      }
    };
    for (const name of Object.keys(cases)) {
      if (!this.chords) continue;
      const run = async () => {
        start();
        await running.get(name);
      };
      this.#define(name, run, 5_000 + 4 * this.patienceMs);
    }
  }

  /** A case that makes scenes of its own, as one for each of many workflows. */
  many(name: string, run: () => Promise<void>, limitMs: number): void {
    this.#define(name, run, limitMs);
  }

  async inScene(run: (scene: Scene) => Promise<void>, patienceMs = this.patienceMs): Promise<void> {
    const scene = new Scene(this.#underTest, patienceMs);
    try {
      await scene.prepare();
      await run(scene);
    } catch (error) {
      await scene.close().catch(() => {}); // what went wrong first says more
      throw error;
    }
    await scene.close();
  }

  /** What the backend declares; known only once there is one. */
  async backendCapabilities(): Promise<Backend['capabilities']> {
    const backend = await this.#underTest.createBackend();
    await backend.close();
    return backend.capabilities;
  }
}
