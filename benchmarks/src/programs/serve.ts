// What every Node program here does: it reads requests, measures its system, and answers. A new system is a `System`.
// The twin for Go is ../../go/bench.

import process from 'node:process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** The task: adds, and says that it ran. */
export type Add = (a: number, b: number) => number | Promise<number>;

export interface RunningWorker {
  /** All tasks have run: are their results stored, and their messages gone? */
  settled(): Promise<boolean>;
  stop(): Promise<unknown>;
}

export interface System<Sent = unknown> {
  readonly versions: Readonly<Record<string, string>>;
  /** Sends add(a, 1), at once or for a time. */
  send(a: number, at?: Date): Promise<Sent>;
  /** The same of so many that follow, in the way that is made for it. */
  sendBulk?(a: number, count: number): Promise<Sent[]>;
  /** Waits for a result. */
  result?(sent: Sent): Promise<number>;
  /** The results that are stored. */
  stored(sent: readonly Sent[]): Promise<(number | undefined)[]>;
  /** Sends add(0, 1), add(1, 1) … and a callback that adds up what they return; answers that sum. */
  chord?(size: number): Promise<number>;
  startWorker(concurrency: number, add: Add): Promise<RunningWorker>;
}

interface Arguments {
  readonly mode: 'one' | 'flight' | 'bulk';
  readonly n: number;
  readonly concurrency: number;
  readonly taskMs?: number;
  readonly report?: boolean;
  readonly size: number;
  readonly leadMs: number;
  readonly overMs: number;
  readonly limitMs: number;
}

const inFlight = 100;
const bulk = 1_000;
const clock = () => performance.timeOrigin + performance.now();

class Program {
  readonly #system: System;
  /** Each number with its task. */
  readonly #sent: [a: number, sent: unknown][] = [];
  readonly #runs: [a: number, startedAt: number][] = [];
  #next = 0;
  #worker: RunningWorker | undefined;
  #awaited: { readonly runs: number; readonly resolve: () => void } | undefined;

  constructor(system: System) {
    this.#system = system;
  }

  hello() {
    return { versions: this.#system.versions };
  }

  async enqueue({ mode, n }: Arguments) {
    const first = this.#next;
    this.#next += n;
    const send = async (a: number) => void this.#sent.push([a, await this.#system.send(a)]);
    return timed(async () => {
      if (mode === 'bulk') return this.#bulk(first, n);
      return lanes(mode === 'one' ? 1 : inFlight, n, (i) => send(first + i));
    });
  }

  async #bulk(first: number, n: number): Promise<void> {
    for (let i = 0; i < n; i += bulk) {
      const sent = await has(this.#system.sendBulk).call(this.#system, first + i, Math.min(bulk, n - i));
      sent.forEach((one, j) => void this.#sent.push([first + i + j, one]));
    }
  }

  /** Over when n tasks have run, their results are stored and their messages gone. The worker is not stopped: that may take long. */
  async drain({ n, concurrency }: Arguments) {
    return timed(async () => {
      const ran = this.#reached(this.#runs.length + n);
      const worker = await this.#system.startWorker(concurrency, this.#add({}));
      this.#worker = worker;
      await ran;
      while (!(await worker.settled())) await sleep(1);
    });
  }

  async work({ concurrency, ...task }: Arguments) {
    this.#worker = await this.#system.startWorker(concurrency, this.#add(task));
    return {};
  }

  async stop() {
    await this.#worker?.stop();
    return {};
  }

  /** Sends, and awaits each result. */
  async roundtrip({ n }: Arguments) {
    return timed(() => lanes(inFlight, n, () => this.#ping()));
  }

  /** One task at a time, with a pause after each; when each was sent and its result there. */
  async latency({ n, limitMs }: Arguments) {
    const pings: [a: number, sentAt: number, gotAt: number][] = [];
    const end = performance.now() + limitMs;
    while (pings.length < n && performance.now() < end) {
      const sentAt = clock();
      const a = await this.#ping();
      pings.push([a, sentAt, clock()]);
      await sleep(5);
    }
    return { pings };
  }

  async chord({ size }: Arguments) {
    return timed(async () => {
      const sum = await has(this.#system.chord).call(this.#system, size);
      if (sum !== (size * (size + 1)) / 2) throw new Error(`A chord of ${size} answered ${sum}`);
    });
  }

  /** Tasks for times that are spread evenly, the first in `leadMs`. */
  async delay({ n, leadMs, overMs }: Arguments) {
    const base = clock() + leadMs;
    const etas: [a: number, eta: number][] = [];
    await lanes(inFlight, n, async (i) => {
      const a = this.#next++;
      const at = new Date(base + (i * overMs) / n);
      etas.push([a, at.getTime()]);
      this.#sent.push([a, await this.#system.send(a, at)]);
    });
    return { etas };
  }

  runs() {
    return { runs: this.#runs };
  }

  /** How many results are stored, of all that was sent with `enqueue` and `delay`. */
  async check() {
    let stored = 0;
    for (let i = 0; i < this.#sent.length; i += bulk) {
      const part = this.#sent.slice(i, i + bulk);
      const results = await this.#system.stored(part.map(([, sent]) => sent));
      results.forEach((result, j) => {
        const [a = Number.NaN] = part[j] ?? [];
        if (result === undefined) return;
        if (result !== a + 1) throw new Error(`The result of ${a} + 1 is ${result}`);
        stored++;
      });
    }
    return { stored };
  }

  async #ping(): Promise<number> {
    const a = this.#next++;
    const sent = await this.#system.send(a);
    const result = await has(this.#system.result).call(this.#system, sent);
    if (result !== a + 1) throw new Error(`The result of ${a} + 1 is ${result}`);
    return a;
  }

  #add({ taskMs, report }: Pick<Arguments, 'taskMs' | 'report'>): Add {
    const ran = (a: number) => {
      this.#runs.push([a, clock()]);
      if (this.#runs.length === this.#awaited?.runs) this.#awaited.resolve();
    };
    if (taskMs === undefined) {
      return (a, b) => {
        ran(a);
        return a + b;
      };
    }
    return async (a, b) => {
      ran(a);
      if (report) write({ report: 'began', a });
      await sleep(taskMs);
      if (report) write({ report: 'ended', a });
      return a + b;
    };
  }

  #reached(runs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#awaited = { runs, resolve };
    });
  }
}

/** Runs a program: its only argument is its configuration, as JSON. */
export async function serve(newSystem: (config: never) => System | Promise<System>): Promise<void> {
  const program = new Program(await newSystem(JSON.parse(process.argv[2] ?? '{}') as never));
  const verbs = program as unknown as Record<string, (request: object) => unknown>;
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line) as { do: string };
    try {
      write((await verbs[request.do]?.call(program, request)) ?? { error: `It cannot "${request.do}"` });
    } catch (error) {
      write({ error: String((error as Error)?.stack ?? error) });
    }
  }
  process.exit(); // who asked is gone
}

/** Does n things, so many at a time. */
export async function lanes(width: number, n: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < n) await work(next++);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

async function timed(work: () => Promise<unknown>): Promise<{ ms: number }> {
  const start = performance.now();
  await work();
  return { ms: performance.now() - start };
}

function has<T>(method: T | undefined): T {
  if (method === undefined) throw new Error('This system has no such thing');
  return method;
}

/** To a pipe, this is synchronous: what is written is read, even if this process is killed next. */
function write(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
