// A server for tests of one's own tasks: the real one on the in-memory engine, with a clock that tests advance, and with
// workers that run only while `drain` or `advance` is awaited. Nothing here fakes a task: messages are encoded, delivered,
// tried again and followed up as they are elsewhere.

// Imported, as tests may fake the global ones.
import { clearTimeout, setTimeout } from 'node:timers';
import { setImmediate } from 'node:timers/promises';
import type { Ended } from '../attempt.ts';
import type { Clock } from '../clock.ts';
import { contractVersion } from '../contract-version.ts';
import { errorText, MachineryError } from '../errors.ts';
import type { Lock } from '../lock.ts';
import type { Logger } from '../logger.ts';
import {
  boolean,
  type Check,
  checkOptions,
  integer,
  invalidOption,
  number,
  object,
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
import type { Worker, WorkerOptions } from '../worker.ts';
import { TestBackend } from './test-backend.ts';
import { TestBroker } from './test-broker.ts';
import { TestClock } from './test-clock.ts';

type ServerOwnOptions = Omit<ServerOptions, 'broker' | 'backend' | 'lock' | 'clock'>;

/** Options of a server for tests: those of a Server without its adapters, and its own. */
export interface TestServerOptions extends ServerOwnOptions {
  /** What the clock says at first. Default: the system's time. */
  readonly now?: Date;
  /** Options of its workers, one for each queue. */
  readonly worker?: Omit<WorkerOptions, 'queue'>;
  /** Leave tasks without a handler in their queues, as another program runs them. Default: false, `drain` fails when there are any. */
  readonly leaveUnhandled?: boolean;
}

/** Limits of `drain` and `advance`. */
export interface Limits {
  /** The most attempts that may run, for `advance` from one periodic tick to the next. More are taken for tasks that send or retry themselves for ever. Default: 10,000. */
  readonly maxTasks?: number;
  /** How long nothing may be sent or come to an end before a task is taken for one that never ends, in milliseconds of real time. Default: 3,000. */
  readonly timeoutMs?: number;
}

/** Options of `drain`. */
export interface DrainOptions extends Limits {
  /** Goes on until this has settled, waiting for what it sends: code that waits for results itself. What it rejects with is left to you. */
  readonly until?: Promise<unknown>;
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

/** States do not expire unless a test wants it: it jumps over hours. */
const neverInSeconds = 2 ** 31 - 1;

/** One call of `drain` or `advance`. */
interface Work extends Required<Limits> {
  readonly workers: Map<string, Worker>;
  /** How many ticks there had been when the attempts were `before`: what is counted begins there. */
  ticks: number;
  before: number;
}

/** For a Server to check. */
const passedOn = () => undefined;
const checks: Record<keyof TestServerOptions, Check> = {
  now: optional((value) => (value instanceof Date && !Number.isNaN(value.getTime()) ? undefined : 'a valid Date')),
  worker: optional(object),
  leaveUnhandled: optional(boolean),
  programName: passedOn,
  defaultQueue: passedOn,
  resultsExpireInSeconds: passedOn,
  handleSignals: passedOn,
  logger: passedOn,
  telemetry: passedOn,
  prePublishHandler: passedOn,
};
const limitChecks = { maxTasks: optional(integer({ min: 1 })), timeoutMs: optional(timerMs({ min: 1 })) };

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
  readonly clock: Pick<Clock, 'now'>;
  readonly #clock: TestClock;
  readonly #broker: TestBroker;
  readonly #workerOptions: Omit<WorkerOptions, 'queue'>;
  readonly #leaveUnhandled: boolean;
  #working = false;
  #closed = false;
  #explained = false;
  #ticks = 0;
  #wake: (() => void) | undefined;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION. */
  constructor(options: TestServerOptions = {}) {
    checkOptions('testServer', options, checks);
    const { now, worker = {}, leaveUnhandled = false, logger = errorLogger, ...rest } = options;
    const clock = new TestClock(now?.getTime() ?? Date.now());
    const broker = new TestBroker(clock);
    const backend = new TestBackend({ clock });
    // There is only one scheduler.
    const acquire = async () => {
      this.#ticks++;
      return true;
    };
    const lock: Lock = { contractVersion, name: '@machinery/core/testing', acquire, close: async () => {} };
    super({ resultsExpireInSeconds: neverInSeconds, ...rest, logger, broker, backend, lock, clock });
    broker.isRegistered = (name) => this.isTaskRegistered(name);
    broker.onChange = () => this.#changed();
    backend.onLongWait = () => this.#explainWait();
    this.clock = clock;
    this.#clock = clock;
    this.#broker = broker;
    this.#workerOptions = worker;
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
   * retries too. Periodic entries do not fire, and go on from where the clock is then.
   * @returns how many attempts ran.
   * @throws MachineryError ERR_MACHINERY_NOT_DRAINED when a task never ends, tasks send or retry themselves for ever, or one
   * has no handler.
   */
  async drain(options: DrainOptions = {}): Promise<number> {
    checkOptions('drain', options, {
      ...limitChecks,
      until: optional((value) =>
        typeof (value as Promise<unknown> | null)?.then === 'function' ? undefined : 'a promise',
      ),
    });
    const entries = this.periodic.entries().filter((entry) => !entry.paused);
    for (const entry of entries) entry.pause();
    try {
      return await this.#work('drain', options, () => this.#broker.nextDueMs ?? this.clock.now());
    } finally {
      for (const entry of entries) entry.resume();
    }
  }

  /**
   * Moves the clock on and runs what is due on the way, each at its time: what is delayed, retries, periodic entries.
   * `advance(0)` runs what is due now.
   * @param ms how far, in milliseconds.
   * @returns how many attempts ran.
   * @throws MachineryError as `drain`.
   */
  async advance(ms: number, limits: Limits = {}): Promise<number> {
    const untilMs = this.clock.now() + ms;
    if (number({ min: 0 })(ms) !== undefined || Number.isNaN(new Date(untilMs).getTime()))
      throw invalidOption(`advance: expected milliseconds >= 0, got ${show(ms)}`);
    checkOptions('advance', limits, limitChecks);
    return this.#work('advance', limits, () => untilMs);
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
  async #work(
    method: string,
    { maxTasks = 10_000, timeoutMs = 3_000, until }: DrainOptions,
    untilMs: () => number,
  ): Promise<number> {
    if (this.#working)
      throw notDrained(`${method} was called while the server is being drained: await the call before`);
    this.#working = true;
    const before = this.#broker.delivered;
    const work: Work = { workers: new Map(), maxTasks, timeoutMs, ticks: 0, before };
    const stop = (quit: (worker: Worker) => Promise<void>) => Promise.all([...work.workers.values()].map(quit));
    const isOver = this.#watchSettled(until);
    try {
      await this.#broker.unpark();
      for (;;) {
        await this.#untilIdle(work);
        while (this.#clock.ringNext(untilMs())) await this.#untilIdle(work);
        if (isOver()) break;
        await this.#within(timeoutMs, this.#change(), () => stuckOutside(timeoutMs));
      }
      if (!this.#leaveUnhandled) this.#refuseUnhandled();
    } catch (error) {
      await stop((worker) => (this.#closed ? worker[Symbol.asyncDispose]() : worker.quit({ timeoutMs: 0 })));
      throw error;
    } finally {
      await stop((worker) => worker[Symbol.asyncDispose]());
      this.#working = false;
    }
    return this.#broker.delivered - before;
  }

  /** Answers a function that says whether the promise, if any, has settled. */
  #watchSettled(promise: Promise<unknown> | undefined): () => boolean {
    let isSettled = promise === undefined;
    const settle = () => {
      isSettled = true;
      this.#changed();
    };
    void promise?.then(settle, settle);
    return () => isSettled;
  }

  /** Resolves when nothing can run until the clock moves. */
  async #untilIdle(work: Work): Promise<void> {
    const { workers, timeoutMs, maxTasks } = work;
    for (;;) {
      if (this.#closed) throw new MachineryError('ERR_MACHINERY_CLOSED', 'The server is closed');
      for (const queue of this.#broker.queues) await this.#startWorker(queue, workers);
      const change = this.#change();
      await setImmediate(); // by then, what was begun to be sent is sent
      const isIdle = await this.#broker.isIdle();
      const { isSettled } = this.periodic;
      if (isIdle && isSettled) return;
      const ended = this.#broker.delivered - this.#broker.inHand.size;
      if (work.ticks !== this.#ticks) Object.assign(work, { ticks: this.#ticks, before: ended });
      const ran = ended - work.before;
      if (ran > maxTasks) throw this.#endless(ran);
      // What makes a tick's signature may wait for tasks.
      const event = isSettled ? change : Promise.race([change, this.periodic.settled()]);
      await this.#within(timeoutMs, event, () => (isIdle ? stuckTick(timeoutMs) : this.#stuck(timeoutMs)));
    }
  }

  async #startWorker(queue: string, workers: Map<string, Worker>): Promise<void> {
    if (workers.has(queue)) return;
    const worker = this.newWorker(`test-${queue}`, { ...this.#workerOptions, queue });
    workers.set(queue, worker);
    await worker.start();
  }

  #changed(): void {
    this.#wake?.();
  }

  /** Resolves when there may be more or less to do. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async #within(timeoutMs: number, work: Promise<unknown>, tooLong: () => MachineryError): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeUp = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(tooLong()), timeoutMs);
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

  #refuseUnhandled(): void {
    const names = namesOf(this.#broker.parked.values());
    if (names === '') return;
    throw notDrained(
      `Tasks without a handler are left: ${names}. Register them with \`handle\`, or make the server with ` +
        '`testServer({ leaveUnhandled: true })` when another program runs them',
    );
  }

  #stuck(timeoutMs: number): MachineryError {
    const parked = namesOf(this.#broker.parked.values());
    return notDrained(
      `Nothing has ended for ${timeoutMs} ms, still running: ${namesOf(this.#broker.inHand.values())}. Does it wait for a ` +
        'promise that never settles, or for a task that has no free slot, or is delayed, while the clock stands still' +
        `${parked === '' ? '' : `, or has no handler (${parked})`}? Let it have more time with \`timeoutMs\``,
    );
  }

  #endless(ran: number): MachineryError {
    const last = this.#broker.published.slice(-100).map(({ signature }) => signature.name);
    return notDrained(
      `${ran} attempts ran and there is still work, of late: ${namesOf(last)}. Does it send or retry itself for ` +
        'ever? Allow more with `maxTasks`',
    );
  }
}

function stuckTick(timeoutMs: number): MachineryError {
  return notDrained(
    `A periodic entry has not been sent for ${timeoutMs} ms: does the function that makes it ever end?`,
  );
}

function stuckOutside(timeoutMs: number): MachineryError {
  return notDrained(
    `Nothing has been sent for ${timeoutMs} ms, and \`until\` has not settled: does it wait for something outside of this server?`,
  );
}

function namesOf(names: Iterable<string>): string {
  return [...new Set(names)].join(', ');
}

function notDrained(text: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_NOT_DRAINED', text);
}
