// A server for tests of one's own tasks: the real one on the in-memory engine, with a clock that tests advance, and with
// workers that run only while `drain` or `advance` is awaited. Nothing here fakes a task: messages are encoded, delivered,
// tried again and followed up as they are elsewhere.

// Imported, as tests may fake the global ones.
import { clearTimeout, setTimeout } from 'node:timers';
import { setImmediate } from 'node:timers/promises';
import type { Ended } from '../attempt.ts';
import { contractVersion } from '../contract-version.ts';
import { errorText, MachineryError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import {
  boolean,
  type Check,
  checkOptions,
  integer,
  invalidOption,
  number,
  optional,
  show,
  timerMs,
} from '../options.ts';
import { attemptOf } from '../retry.ts';
import { Server, type ServerOptions } from '../server.ts';
import type { Signature } from '../signature.ts';
import {
  type ArgsOut,
  type ArgsSpec,
  type CompleteSignature,
  isTask,
  type PlainSignature,
  type Result,
  type ReturnsSpec,
  type TaskDefinition,
  type TaskSignature,
} from '../task.ts';
import { guardProcess } from '../task-context.ts';
import { decodeArgs, decodeResults } from '../task-values.ts';
import { fromWireValue } from '../wire/argument-types.ts';
import { decodeSignature } from '../wire/signature-codec.ts';
import { etaMs } from '../wire/time.ts';
import type { Worker } from '../worker.ts';
import { TestBackend } from './test-backend.ts';
import { TestBroker } from './test-broker.ts';
import { TestClock } from './test-clock.ts';

/** Options of a server for tests: those of a Server without its adapters, and its own. */
export interface TestServerOptions extends Omit<ServerOptions, 'broker' | 'backend' | 'lock' | 'clock'> {
  /** What the clock says at first. Default: the system's time. */
  readonly now?: Date;
  /** How many tasks of a queue run at once. Default: 10, as for a worker. */
  readonly concurrency?: number;
  /** Leave tasks without a handler in their queues, as another program runs them. Default: false, `drain` fails when there are any. */
  readonly leaveUnhandled?: boolean;
}

/** Limits of `drain` and `advance`. */
export interface DrainOptions {
  /** The most attempts that may run. More are taken for tasks that send or retry themselves for ever. Default: 10,000. */
  readonly maxTasks?: number;
  /** How long nothing may come to an end before a task is taken for one that never ends, in milliseconds of real time. Default: 3,000. */
  readonly timeoutMs?: number;
}

/** Something that was sent. */
export interface Sent<Args extends readonly unknown[] = readonly unknown[]> {
  readonly name: string;
  readonly uuid: string;
  readonly queue: string;
  /** As the handler gets them. */
  readonly args: Args;
  /** When it is due; undefined: at once. */
  readonly eta: Date | undefined;
  /** All of it, as it travels. */
  readonly signature: Signature;
}

/** Options of a Server that it checks itself. */
const passedOn = ['programName', 'defaultQueue', 'resultsExpireInSeconds', 'logger', 'telemetry', 'prePublishHandler'];
const checks = {
  now: optional((value) => (value instanceof Date && !Number.isNaN(value.getTime()) ? undefined : 'a valid Date')),
  concurrency: optional(integer({ min: 1, max: 100_000 })),
  leaveUnhandled: optional(boolean),
  ...Object.fromEntries(passedOn.map((name) => [name, () => undefined])),
} as Record<keyof TestServerOptions, Check>;

/** Failed tasks are printed: a test that waits for nothing of them would not notice. */
const errorLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error: (message, ...details) => console.error(message, ...details),
};

/** Makes a server for a test. Give it to the code under test in place of its Server. */
export function testServer(options: TestServerOptions = {}): TestServer {
  return new TestServer(options);
}

/** A Server whose tasks run when the test says so. Made by `testServer`. */
export class TestServer extends Server {
  /** The time that ETAs, retries, expiry and periodic entries see. `timeoutMs` of tasks and of `get` is real time. */
  readonly clock: TestClock;
  readonly #broker: TestBroker;
  readonly #concurrency: number | undefined;
  readonly #leaveUnhandled: boolean;
  #working = false;
  #closed = false;
  #explained = false;
  #changes = 0;
  #wake: (() => void) | undefined;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION. */
  constructor(options: TestServerOptions = {}) {
    checkOptions('testServer', options, checks);
    const { now, concurrency, leaveUnhandled = false, logger = errorLogger, ...rest } = options;
    const clock = new TestClock(now?.getTime() ?? Date.now());
    const broker = new TestBroker(clock);
    const backend = new TestBackend({ clock });
    super({ ...rest, logger, broker, backend, lock: ownLock, clock });
    broker.isRegistered = (name) => this.isTaskRegistered(name);
    broker.onChange = () => this.#changed();
    backend.onLongWait = () => this.#explainWait();
    this.clock = clock;
    this.#broker = broker;
    this.#concurrency = concurrency;
    this.#leaveUnhandled = leaveUnhandled;
  }

  /**
   * Runs one attempt of a task at once and gives what it returns, after both ways over the wire. What it throws is thrown.
   * Nothing is stored, tried again or followed up; what the task itself sends is in `sent`.
   * @throws MachineryError ERR_MACHINERY_TASK_NOT_REGISTERED, and what `send` throws for a signature that cannot be sent.
   */
  run<R extends ReturnsSpec>(signature: CompleteSignature<R>): Promise<Result<R>>;
  run(signature: PlainSignature): Promise<unknown>;
  async run(signature: Signature): Promise<unknown> {
    const unguard = guardProcess();
    let ended: Ended;
    try {
      ended = await this.attempt(signature);
    } finally {
      unguard();
    }
    if (ended.kind === 'failure') throw ended.error;
    const { definition } = signature as Partial<TaskSignature>;
    if (definition !== undefined) return decodeResults(definition.returns, ended.results);
    const values = ended.results.map(({ type, value }) => fromWireValue(type, value));
    return values.length > 1 ? values : values[0];
  }

  /**
   * Runs everything there is to do, and what comes of it, until nothing is left: the clock jumps to whatever is delayed,
   * retries too. Periodic entries fire when the clock passes their times; by themselves they are nothing to do.
   * @returns how many attempts ran.
   * @throws MachineryError ERR_MACHINERY_NOT_DRAINED when a task never ends, tasks send or retry themselves for ever, or one
   * has no handler.
   */
  drain(options: DrainOptions = {}): Promise<number> {
    return this.#work('drain', options, () => this.#broker.nextDueMs ?? this.clock.now());
  }

  /**
   * Moves the clock on and runs what is due on the way, each at its time: what is delayed, retries, periodic entries.
   * `advance(0)` runs what is due now.
   * @param ms how far, in milliseconds.
   * @returns how many attempts ran.
   * @throws MachineryError as `drain`.
   */
  async advance(ms: number, options: DrainOptions = {}): Promise<number> {
    const untilMs = this.clock.now() + ms;
    if (number({ min: 0 })(ms) !== undefined || Number.isNaN(new Date(untilMs).getTime()))
      throw invalidOption(`advance: expected milliseconds >= 0, got ${show(ms)}`);
    return this.#work('advance', options, () => untilMs);
  }

  /**
   * What was sent so far, in order: by the test, by tasks, as follow-ups and by periodic entries. Retries are left out.
   * Its `args` throw ERR_MACHINERY_INVALID_ARGUMENT when they are looked at and do not fit the task.
   */
  sent(): Sent[];
  sent<S extends ArgsSpec, R extends ReturnsSpec>(task: TaskDefinition<S, R>): Sent<ArgsOut<S>>[];
  sent(taskName: string): Sent[];
  sent(task?: TaskDefinition | string): Sent[] {
    if (task !== undefined && typeof task !== 'string' && !isTask(task))
      throw invalidOption(`sent: expected a task made by defineTask, or a name, got ${show(task)}`);
    const name = typeof task === 'function' ? task.name : task;
    const definition = typeof task === 'function' ? task : undefined;
    return this.#broker.published
      .map(({ body, routingKey }) => ({ signature: decodeSignature(body), queue: routingKey }))
      .filter(({ signature }) => attemptOf(signature) === 1 && (name === undefined || signature.name === name))
      .map(({ signature, queue }) => this.#sent(signature, queue, definition));
  }

  #sent(signature: Signature, queue: string, definition: TaskDefinition | undefined): Sent {
    const { name, uuid, eta, args = [] } = signature;
    const decode = () => {
      if (definition !== undefined) return decodeArgs(definition.args, args);
      if (this.isTaskRegistered(name)) return this.getRegisteredTask(name).decodeArgs(args);
      return args.map(({ type, value }) => fromWireValue(type, value));
    };
    return {
      name,
      uuid: uuid as string,
      queue,
      get args() {
        try {
          return decode();
        } catch (cause) {
          const text = `The arguments of task ${name} (${uuid}) do not fit: ${errorText(cause)}`;
          throw new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', text, { cause });
        }
      },
      eta: eta === undefined ? undefined : new Date(etaMs(eta)),
      signature,
    };
  }

  override close(): Promise<void> {
    this.#closed = true;
    this.#changed();
    return super.close();
  }

  /** Runs what is ready, then what each alarm up to `untilMs` makes ready. */
  async #work(method: string, options: DrainOptions, untilMs: () => number): Promise<number> {
    checkOptions(method, options, {
      maxTasks: optional(integer({ min: 1 })),
      timeoutMs: optional(timerMs({ min: 1 })),
    });
    if (this.#working)
      throw notDrained(`${method} was called while the server is being drained: await the call before`);
    this.#working = true;
    const { maxTasks = 10_000, timeoutMs = 3_000 } = options;
    const before = this.#broker.delivered;
    const workers = new Map<string, Worker>();
    const run = () => this.#untilIdle(workers, before, maxTasks, timeoutMs);
    const stop = (quit: (worker: Worker) => Promise<void>) => Promise.all([...workers.values()].map(quit));
    try {
      await this.#broker.unpark();
      await run();
      for (let to = untilMs(); this.clock.ringNext(to); to = untilMs()) await run();
      if (!this.#leaveUnhandled) await this.#refuseUnhandled();
    } catch (error) {
      await stop((worker) => (this.#closed ? worker[Symbol.asyncDispose]() : worker.quit({ timeoutMs: 0 })));
      throw error;
    } finally {
      await stop((worker) => worker[Symbol.asyncDispose]());
      this.#working = false;
    }
    return this.#broker.delivered - before;
  }

  async #untilIdle(workers: Map<string, Worker>, before: number, maxTasks: number, timeoutMs: number): Promise<void> {
    for (;;) {
      if (this.#closed) throw new MachineryError('ERR_MACHINERY_CLOSED', 'The server is closed');
      for (const queue of this.#broker.queues) await this.#startWorker(queue, workers);
      const changes = this.#changes;
      await setImmediate(); // by then, what was begun to be sent is sent
      await this.#within(timeoutMs, this.periodic.settled(), stuckTick);
      if (this.#broker.delivered - before > maxTasks) throw this.#endless(maxTasks);
      if (await this.#broker.isIdle()) return;
      if (changes === this.#changes) await this.#within(timeoutMs, this.#change(), (ms) => this.#stuck(ms));
    }
  }

  async #startWorker(queue: string, workers: Map<string, Worker>): Promise<void> {
    if (workers.has(queue)) return;
    const concurrency = this.#concurrency;
    const worker = this.newWorker(`test-${queue}`, { queue, ...(concurrency !== undefined && { concurrency }) });
    workers.set(queue, worker);
    await worker.start();
  }

  #changed(): void {
    this.#changes++;
    this.#wake?.();
  }

  /** Resolves when there may be less to do, another queue, or the server is closed. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async #within(
    timeoutMs: number,
    work: Promise<unknown>,
    tooLong: (timeoutMs: number) => MachineryError,
  ): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeUp = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(tooLong(timeoutMs)), timeoutMs);
    });
    try {
      await Promise.race([work, timeUp]);
    } finally {
      clearTimeout(timer);
    }
  }

  #explainWait(): void {
    if (this.#working || this.#broker.hasWorkers || this.#explained) return;
    this.#explained = true;
    this.logger.error('A test waits for a result while no task can run: await `drain` or `advance` before `get`');
  }

  async #refuseUnhandled(): Promise<void> {
    const names = namesOf(this.#broker.parked.values());
    if (names === '') return;
    throw notDrained(
      `Tasks without a handler are left: ${names}. Register them with \`handle\`, or make the server with ` +
        '`testServer({ leaveUnhandled: true })` when another program runs them',
    );
  }

  #stuck(timeoutMs: number): MachineryError {
    return notDrained(
      `Nothing has ended for ${timeoutMs} ms, still running: ${namesOf(this.#broker.inHand.values())}. Does it wait for a ` +
        'promise that never settles, or for a task that has no free slot, or is delayed, while the clock stands still? ' +
        'Let it have more time with `timeoutMs`',
    );
  }

  #endless(maxTasks: number): MachineryError {
    const last = this.#broker.published.slice(-100).map(({ signature }) => signature.name);
    return notDrained(
      `${maxTasks} attempts ran and there is still work, of late: ${namesOf(last)}. Does it send or retry itself for ` +
        'ever? Allow more with `maxTasks`',
    );
  }
}

function stuckTick(timeoutMs: number): MachineryError {
  return notDrained(
    `A periodic entry has not been sent for ${timeoutMs} ms: does the function that makes it ever end?`,
  );
}

/** There is only one scheduler. */
const ownLock = {
  contractVersion,
  name: '@machinery/core/testing',
  acquire: async () => true,
  close: async () => {},
} as const;

function namesOf(names: Iterable<string>): string {
  return [...new Set(names)].join(', ');
}

function notDrained(text: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_NOT_DRAINED', text);
}
