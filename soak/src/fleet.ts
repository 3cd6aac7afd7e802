// The worker processes: always as many, whatever is killed.

import { setTimeout as sleep } from 'node:timers/promises';
import { NodeProgram } from '@machinery/services';
import type { WorkerConfig } from './worker.ts';

/** Compiled, also when this file is not: Node 20 runs no TypeScript. */
const program = new URL(import.meta.url.endsWith('.ts') ? '../dist/worker.js' : './worker.js', import.meta.url);

export class Fleet {
  readonly #config: Omit<WorkerConfig, 'name'>;
  readonly #running = new Set<NodeProgram<string>>();
  readonly #stopped = new Set<NodeProgram<string>>();
  /** Of workers that ended without being told to. */
  readonly crashes: string[] = [];
  #started = 0;

  constructor(config: Omit<WorkerConfig, 'name'>) {
    this.#config = config;
  }

  /** Resolves when it takes messages. */
  async start(): Promise<void> {
    const name = `worker-${++this.#started}`;
    let ready = () => {};
    const isReady = new Promise<void>((resolve) => {
      ready = resolve;
    });
    const worker = new NodeProgram<string>({ program, config: { ...this.#config, name }, onReport: () => ready() });
    this.#running.add(worker);
    void worker.ended.then((how) => {
      if (this.#running.delete(worker)) this.crashes.push(`${name} ended by itself: ${how}`);
    });
    await Promise.race([isReady, worker.ended]);
  }

  /** Kills one of them, and starts another in its place. */
  async kill(random: () => number): Promise<void> {
    const alive = [...this.#running].filter((worker) => !this.#stopped.has(worker));
    const victim = alive[Math.floor(random() * alive.length)];
    if (victim === undefined) return;
    this.#running.delete(victim);
    await victim.kill();
    await this.start();
  }

  /** Lets one stand still. */
  async pauseOne(forMs: number): Promise<void> {
    const [worker] = [...this.#running].filter((one) => !this.#stopped.has(one));
    if (worker === undefined) return;
    this.#stopped.add(worker);
    await worker.kill('SIGSTOP');
    await sleep(forMs);
    await worker.kill('SIGCONT');
    this.#stopped.delete(worker);
  }

  /** Lets all of them end, and answers those that did not end well. */
  async stop(): Promise<string[]> {
    const workers = [...this.#running];
    this.#running.clear();
    const ends = await Promise.all(workers.map((worker) => worker.stop()));
    return ends.filter((how) => how !== 0).map((how) => `A worker that was told to stop ended with ${how}`);
  }

  async killAll(): Promise<void> {
    const workers = [...this.#running];
    this.#running.clear();
    await Promise.all(workers.map((worker) => worker.kill()));
  }
}
