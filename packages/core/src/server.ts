// The entry point: what a program configures once. It registers tasks, sends signatures, hands out results and makes
// workers. Sending goes through `sender.ts`, waiting through `result-waiter.ts`, running through `worker.ts`.

import { basename } from 'node:path';
import { setImmediate } from 'node:timers';
import type { AsyncResult } from './async-result.ts';
import { Attempt, type Ended } from './attempt.ts';
import type { Backend } from './backend.ts';
import type { Broker } from './broker.ts';
import { type Clock, clockCheck, systemClock } from './clock.ts';
import { checkAdapter } from './contract-version.ts';
import type { Engine } from './engine.ts';
import { errorText, MachineryError, NotSupportedError } from './errors.ts';
import { adaptersHealth, type ServerHealth } from './health.ts';
import type { Lock } from './lock.ts';
import { consoleLogger, guardedLogger, type Logger } from './logger.ts';
import {
  abortSignal,
  boolean,
  checkOptions,
  fn,
  integer,
  invalidOption,
  object,
  optional,
  show,
  string,
  timerMs,
} from './options.ts';
import type { Outcome } from './outcome.ts';
import { type Periodic, type PeriodicEntry, type PeriodicOptions, PeriodicScheduler } from './periodic.ts';
import { planOf } from './plan.ts';
import {
  declaredTask,
  type HandlerOptions,
  type PlainTask,
  plainTask,
  type RegisteredTask,
  Registry,
} from './registry.ts';
import { ResultWaiter } from './result-waiter.ts';
import { taskResult, workflowResult } from './results.ts';
import { backoffChecks, etaAfter } from './retry.ts';
import { type PrePublishHandler, type Sendable, Sender, sendAborted } from './sender.ts';
import type { Signature } from './signature.ts';
import { StateWriter } from './state-writer.ts';
import {
  type ArgsSpec,
  type CompleteSignature,
  delayOf,
  type HandlerOf,
  isTask,
  type PlainSignature,
  type Result,
  type ReturnsSpec,
  type SignatureOptions,
  type TaskDefinition,
  type TaskSignature,
  withOptions,
} from './task.ts';
import { SafeTelemetry, type Sending, type Telemetry } from './telemetry.ts';
import { checkIsSignature, checkSignature } from './validation.ts';
import { decodeSignature } from './wire/signature-codec.ts';
import { Worker, type WorkerOptions } from './worker.ts';
import { type AnyWorkflow, type Chain, type Chord, type Group, isWorkflow, type Workflow } from './workflow.ts';
import { type ChainResult, type ChordResult, GroupResult, type WorkflowResult } from './workflow-result.ts';
import { sendWorkflow, type WorkflowOptions } from './workflow-sender.ts';

export interface ServerOptions {
  readonly broker: Broker;
  readonly backend: Backend;
  /** Needed for periodic entries only: it lets one of many schedulers send a tick. */
  readonly lock?: Lock;
  /**
   * Part of the locks' names of periodic entries: processes with the same entries must have the same one. Default, as in
   * Go: the file name of the program, here its script's.
   */
  readonly programName?: string;
  /** The queue of signatures and workers that name none. Default: `machinery_tasks`, as in Go. */
  readonly defaultQueue?: string;
  /** How long states are kept, in seconds. Default: 3600, as in Go. */
  readonly resultsExpireInSeconds?: number;
  /** Whether `worker.launch` stops on SIGINT and SIGTERM. Default: true. */
  readonly handleSignals?: boolean;
  /** Default: `console`, from warnings up. */
  readonly logger?: Logger;
  readonly telemetry?: Telemetry;
  /** Called with every signature before it is published, callbacks and retries too: answer another one to send that instead. */
  readonly prePublishHandler?: PrePublishHandler;
  /** For tests: see `@machinery/core/testing`. The in-memory engine takes one, too, and a lock has its own. Default: the system's. */
  readonly clock?: Clock;
}

/** Options of one `send`. */
export type SendOptions<R = unknown> = SignatureOptions<R> & {
  /** Do not send any more when this has fired: `ERR_MACHINERY_ABORTED`. What is published stays published. */
  readonly signal?: AbortSignal;
};

export class Server implements AsyncDisposable {
  readonly lock: Lock | undefined;
  /** As the option of that name; what is stored from now on is kept so long. */
  resultsExpireInSeconds: number;
  /** @internal Whether `worker.launch` stops on SIGINT and SIGTERM. */
  readonly handlesSignals: boolean;
  /** The periodic entries. */
  readonly periodic: PeriodicScheduler;
  readonly #engine: Engine;
  readonly #workers = new Set<Worker>();
  #closing: Promise<void> | undefined;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION, or ERR_MACHINERY_CONTRACT_VERSION for an adapter of another contract. */
  constructor(options: ServerOptions) {
    checkOptions('Server', options, {
      broker: object,
      backend: object,
      lock: optional(object),
      programName: optional(string),
      defaultQueue: optional(string),
      resultsExpireInSeconds: optional(integer({ min: 1, max: 2 ** 31 - 1 })),
      handleSignals: optional(boolean),
      logger: optional((value) =>
        ['debug', 'info', 'warn', 'error'].every(
          (level) => fn((value as Record<string, unknown> | null)?.[level]) === undefined,
        )
          ? undefined
          : 'an object with debug, info, warn and error',
      ),
      telemetry: optional(object),
      prePublishHandler: optional(fn),
      clock: optional(clockCheck),
    });
    checkAdapter('broker', options.broker);
    checkAdapter('backend', options.backend);
    if (options.lock !== undefined) checkAdapter('lock', options.lock);
    const { broker, backend, lock, defaultQueue = 'machinery_tasks' } = options;
    const logger = guardedLogger(options.logger ?? consoleLogger);
    this.resultsExpireInSeconds = options.resultsExpireInSeconds ?? 3_600;
    const { prePublishHandler, clock = systemClock } = options;
    const { programName = basename(process.argv[1] ?? process.argv0) } = options;
    broker.attach?.({ defaultQueue, logger });
    backend.attach?.({ logger });
    const telemetry = new SafeTelemetry(options.telemetry ?? {}, logger, broker.name);
    const states = new StateWriter(backend, logger);
    this.lock = lock;
    this.handlesSignals = options.handleSignals ?? true;
    const send = (what: Signature | AnyWorkflow, how: PeriodicOptions, entry: string) => this.#send(what, how, entry);
    this.periodic = new PeriodicScheduler({ clock, lock, logger, programName, send });
    this.#engine = {
      broker,
      backend,
      clock,
      defaultQueue,
      logger,
      telemetry,
      registry: new Registry(),
      states,
      sender: new Sender({
        broker,
        backend,
        clock,
        states,
        defaultQueue,
        resultsExpireInSeconds: () => this.resultsExpireInSeconds,
        telemetry,
        prePublishHandler,
      }),
      results: new ResultWaiter(backend, logger),
    };
  }

  get broker(): Broker {
    return this.#engine.broker;
  }

  get backend(): Backend {
    return this.#engine.backend;
  }

  get defaultQueue(): string {
    return this.#engine.defaultQueue;
  }

  get logger(): Logger {
    return this.#engine.logger;
  }

  /**
   * Registers the handler of a declared task.
   * @throws MachineryError ERR_MACHINERY_TASK_ALREADY_REGISTERED, ERR_MACHINERY_INVALID_OPTION.
   */
  handle<D extends { readonly name: string; readonly args: ArgsSpec; readonly returns: ReturnsSpec }>(
    task: D,
    handler: HandlerOf<D>,
    options: HandlerOptions = {},
  ): void {
    if (!isTask(task))
      throw invalidOption(
        `handle: expected a task made by defineTask, got ${show(task)}; registerTask takes a name and a function`,
      );
    if (fn(handler) !== undefined)
      throw invalidOption(`handle('${task.name}'): expected a function, got ${show(handler)}`);
    checkOptions(`handle('${task.name}')`, options, {
      backoff: optional((value) =>
        typeof value === 'function' || object(value) === undefined ? undefined : 'a backoff or a function',
      ),
      timeoutMs: optional(timerMs({ min: 1 })),
    });
    if (typeof options.backoff === 'object')
      checkOptions(`\`backoff\` of handle('${task.name}')`, options.backoff, backoffChecks);
    this.#engine.registry.add(declaredTask(task as unknown as TaskDefinition, handler as never, options));
  }

  /**
   * Registers a plain function: it gets the arguments as they come, and what it returns is stored as the wire type that
   * fits the value (3 is an int64, 3.5 a float64). Declare the task when other programs depend on its types.
   */
  registerTask(name: string, task: PlainTask): void {
    this.#engine.registry.add(plainTask(name, task));
  }

  /** Registers several plain functions, by name. */
  registerTasks(tasks: Readonly<Record<string, PlainTask>>): void {
    if (object(tasks) !== undefined)
      throw invalidOption(`registerTasks: expected an object of functions, got ${show(tasks)}`);
    const made = Object.entries(tasks).map(([name, task]) => plainTask(name, task));
    this.#engine.registry.addAll(made);
  }

  getRegisteredTaskNames(): string[] {
    return this.#engine.registry.names();
  }

  isTaskRegistered(name: string): boolean {
    return this.#engine.registry.get(name) !== undefined;
  }

  /** @throws MachineryError ERR_MACHINERY_TASK_NOT_REGISTERED. */
  getRegisteredTask(name: string): RegisteredTask {
    const task = this.#engine.registry.get(name);
    if (task === undefined)
      throw new MachineryError(
        'ERR_MACHINERY_TASK_NOT_REGISTERED',
        `Task ${name} is not registered; registered are: ${this.#engine.registry.names().join(', ') || 'none'}`,
      );
    return task;
  }

  /**
   * Sends a signature, a chain, a group or a chord: stores PENDING, publishes, and resolves when the broker has it.
   * @throws GroupSendError when a group was published in part, or not at all.
   * @throws MachineryError ERR_MACHINERY_INVALID_SIGNATURE, ERR_MACHINERY_INVALID_ARGUMENT, ERR_MACHINERY_INVALID_OPTION,
   * ERR_MACHINERY_CALLBACKS_TOO_DEEP, ERR_MACHINERY_MESSAGE_TOO_LARGE, ERR_MACHINERY_NOT_SUPPORTED (an ETA that the broker
   * cannot keep), ERR_MACHINERY_ABORTED, ERR_MACHINERY_CLOSED, or what the adapter says: then nothing was published.
   * ERR_MACHINERY_PUBLISH_UNKNOWN: it may have been published.
   */
  // The compiler explains what does not fit by the last of these, so that is the one that most calls are.
  send(signature: PlainSignature, options?: SendOptions): Promise<AsyncResult>;
  send<V>(chain: Chain<[], unknown, V>, options?: WorkflowOptions): Promise<ChainResult<V>>;
  send<V>(group: Group<[], unknown, V>, options?: WorkflowOptions): Promise<GroupResult<V>>;
  send<V>(chord: Chord<[], unknown, V>, options?: WorkflowOptions): Promise<ChordResult<V>>;
  send<V>(workflow: Workflow<V>, options?: WorkflowOptions): Promise<WorkflowResult<V>>;
  send<R extends ReturnsSpec>(
    signature: CompleteSignature<R>,
    options?: SendOptions<R>,
  ): Promise<AsyncResult<Result<R>>>;
  send(
    what: Signature | AnyWorkflow,
    options?: SendOptions | WorkflowOptions,
  ): Promise<AsyncResult<unknown> | WorkflowResult> {
    return this.#closing === undefined ? this.#send(what, options) : Promise.reject(closedError());
  }

  #send(
    what: Signature | AnyWorkflow,
    options?: SendOptions | WorkflowOptions,
    periodicEntry?: string,
  ): Promise<AsyncResult<unknown> | WorkflowResult> {
    return isWorkflow(what)
      ? this.#sendWorkflow(what, options as WorkflowOptions, periodicEntry)
      : this.#sendOne(what, options, periodicEntry);
  }

  async #sendOne(
    signature: Signature,
    options: SendOptions | undefined,
    periodicEntry: string | undefined,
  ): Promise<AsyncResult<unknown>> {
    const returns = (signature as Partial<TaskSignature>)?.definition;
    const { sender, telemetry } = this.#engine;
    const sendable = this.#prepare(signature, options);
    if (telemetry.seesSends)
      await sender.traced([sendable], aboutSending('task', periodicEntry), async ([one = sendable]) =>
        throwUnlessSent(one, await sender.send(one, options?.signal)),
      );
    else throwUnlessSent(sendable, await sender.send(sendable, options?.signal));
    return taskResult(this.#engine, sendable.uuid, returns, true);
  }

  async #sendWorkflow(
    workflow: AnyWorkflow,
    options: WorkflowOptions = {},
    periodicEntry?: string,
  ): Promise<WorkflowResult> {
    checkOptions(`Options of a ${workflow.kind}`, options, {
      sendConcurrency: optional(integer({ min: 1 })),
      signal: optional(abortSignal),
    });
    const { root, entries, ...groups } = planOf(workflow);
    const { sender } = this.#engine;
    const [first] = entries;
    if (first !== undefined && options.signal?.aborted) throw sendAborted(first, options.signal);
    const sendables = entries.map((entry) => sender.completeDraft(this.#delayed(entry)));
    await sender.traced(sendables, aboutSending(workflow.kind, periodicEntry), (all) =>
      sendWorkflow(this.#engine, all, groups, options),
    );
    return workflowResult(this.#engine, root, true) as WorkflowResult;
  }

  /** Go's name of `send` for one task. */
  sendTask(signature: PlainSignature, options?: SendOptions): Promise<AsyncResult>;
  sendTask<R extends ReturnsSpec>(
    signature: CompleteSignature<R>,
    options?: SendOptions<R>,
  ): Promise<AsyncResult<Result<R>>>;
  sendTask(signature: Signature, options?: SendOptions): Promise<AsyncResult<unknown>> {
    return this.send(signature as PlainSignature, options);
  }

  /** Go's name of `send` for a chain. */
  sendChain<V>(chain: Chain<[], unknown, V>, options?: WorkflowOptions): Promise<ChainResult<V>> {
    return this.send(chain, options);
  }

  /** Go's name of `send` for a group. */
  sendGroup<V>(group: Group<[], unknown, V>, options?: WorkflowOptions): Promise<GroupResult<V>> {
    return this.send(group, options);
  }

  /** Go's name of `send` for a chord. */
  sendChord<V>(chord: Chord<[], unknown, V>, options?: WorkflowOptions): Promise<ChordResult<V>> {
    return this.send(chord, options);
  }

  /**
   * Sends a signature at the times of a cron spec, by whichever process gets the lock for it. UUIDs are fresh each time.
   * The entry keeps the process alive until it is removed or the server is closed. A tick is sent at most once: one that
   * cannot be sent is warned of and tried again until the next one is due.
   * @param spec as in Go: five fields, `@daily` …, `@every 90s`, with `CRON_TZ=Europe/Berlin ` in front for another time zone
   * than the process's.
   * @param name of the entry, the same in all processes that have it.
   * @param signature or a function that makes it at each tick.
   * @throws MachineryError ERR_MACHINERY_INVALID_OPTION (a spec that Go refuses, a name that is taken, no lock),
   * ERR_MACHINERY_INVALID_SIGNATURE, ERR_MACHINERY_INVALID_ARGUMENT, ERR_MACHINERY_CLOSED.
   */
  registerPeriodicTask<R extends ReturnsSpec>(
    spec: string,
    name: string,
    signature: Periodic<CompleteSignature<R>>,
  ): PeriodicEntry;
  registerPeriodicTask(spec: string, name: string, signature: Periodic<PlainSignature>): PeriodicEntry;
  registerPeriodicTask(spec: string, name: string, signature: Periodic<Signature>): PeriodicEntry {
    return this.periodic.register('task', spec, name, signature);
  }

  /** The same for a chain. */
  registerPeriodicChain<V>(spec: string, name: string, chain: Periodic<Chain<[], unknown, V>>): PeriodicEntry {
    return this.periodic.register('chain', spec, name, chain);
  }

  /** The same for a group. */
  registerPeriodicGroup<V>(
    spec: string,
    name: string,
    group: Periodic<Group<[], unknown, V>>,
    options?: PeriodicOptions,
  ): PeriodicEntry {
    return this.periodic.register('group', spec, name, group, options);
  }

  /** The same for a chord. */
  registerPeriodicChord<V>(
    spec: string,
    name: string,
    chord: Periodic<Chord<[], unknown, V>>,
    options?: PeriodicOptions,
  ): PeriodicEntry {
    return this.periodic.register('chord', spec, name, chord, options);
  }

  /** The result of a task that was sent before, here or in another process. */
  result<S extends ArgsSpec, R extends ReturnsSpec>(uuid: string, task: TaskDefinition<S, R>): AsyncResult<Result<R>>;
  result(uuid: string): AsyncResult;
  result(uuid: string, task?: TaskDefinition): AsyncResult<unknown> {
    if (string(uuid) !== undefined) throw invalidOption(`result: expected a UUID, got ${show(uuid)}`);
    if (task !== undefined && !isTask(task))
      throw invalidOption(`result: expected a task made by defineTask, got ${show(task)}`);
    return taskResult(this.#engine, uuid, task, false);
  }

  /**
   * The result of a group that was sent before, here or in another process.
   * @param task how the results of all members are declared.
   * @throws MachineryError ERR_MACHINERY_GROUP_EXPIRED when the backend does not know the group (any more).
   */
  groupResult<S extends ArgsSpec, R extends ReturnsSpec>(
    groupUuid: string,
    task: TaskDefinition<S, R>,
  ): Promise<GroupResult<Result<R>[]>>;
  groupResult(groupUuid: string): Promise<GroupResult<unknown[]>>;
  async groupResult(groupUuid: string, task?: TaskDefinition): Promise<GroupResult<unknown[]>> {
    if (string(groupUuid) !== undefined) throw invalidOption(`groupResult: expected a UUID, got ${show(groupUuid)}`);
    const meta = await this.backend.readGroup(groupUuid);
    if (meta === undefined)
      throw new MachineryError('ERR_MACHINERY_GROUP_EXPIRED', `Group ${groupUuid} is not there, or has expired`);
    return new GroupResult(groupUuid, () => meta.taskUuids.map((uuid) => taskResult(this.#engine, uuid, task, true)));
  }

  /** Messages that wait in a queue, in order, without taking them. What is not a signature is left out. */
  async pendingTasks(
    queue: string = this.defaultQueue,
    options: { readonly limit?: number } = {},
  ): Promise<Signature[]> {
    checkOptions('pendingTasks', options, { limit: optional(integer({ min: 1 })) });
    if (this.broker.pendingMessages === undefined)
      throw new NotSupportedError(this.broker.name, 'listing pending tasks');
    return decodeAll(await this.broker.pendingMessages(queue, options.limit ?? 1_000));
  }

  /** Messages that wait for their ETA, soonest first, without taking them. */
  async delayedTasks(options: { readonly limit?: number } = {}): Promise<Signature[]> {
    checkOptions('delayedTasks', options, { limit: optional(integer({ min: 1 })) });
    if (this.broker.delayedMessages === undefined)
      throw new NotSupportedError(this.broker.name, 'listing delayed tasks');
    return decodeAll(await this.broker.delayedMessages(options.limit ?? 1_000));
  }

  /**
   * Makes a worker; `start` or `launch` starts it.
   * @param consumerTag names the worker in logs and in the broker's lists.
   */
  newWorker(consumerTag: string, options: WorkerOptions = {}): Worker {
    this.#refuseWhenClosed();
    const worker: Worker = new Worker(this, this.#engine, consumerTag, options, () => this.#workers.delete(worker));
    this.#workers.add(worker);
    return worker;
  }

  /**
   * How broker, backend and workers are, for probes: asks the servers. Never rejects.
   * @param options `timeoutMs`: what has not answered by then counts as not connected. Default: 5,000.
   */
  async health(options: { readonly timeoutMs?: number } = {}): Promise<ServerHealth> {
    checkOptions('health', options, { timeoutMs: optional(timerMs({ min: 1 })) });
    const [broker, backend] = await adaptersHealth(this.broker, this.backend, options.timeoutMs ?? 5_000);
    const workers = [...this.#workers].filter(({ isStarted }) => isStarted).map((worker) => worker.health());
    const isUp = this.#closing === undefined && broker.connected !== false && backend.connected !== false;
    return { ok: isUp && workers.every(({ connected }) => connected), broker, backend, workers };
  }

  /**
   * Ends the periodic entries, stops the workers after their running tasks, rejects whoever waits for a result, and closes broker, backend and lock:
   * servers that share one are closed together. Safe to call twice.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const workers = [...this.#workers].map((worker) => worker[Symbol.asyncDispose]());
    await Promise.all([this.periodic.close(), ...workers]);
    await this.#engine.states.settled(); // a send stores PENDING first
    await this.#engine.sender.settled();
    this.#engine.results.close();
    const closed = await Promise.allSettled(
      [this.broker, this.backend, this.lock].map(async (adapter) => adapter?.close()),
    );
    const errors = closed.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    if (errors.length > 1) throw new AggregateError(errors, errors.map(errorText).join('; '));
    if (errors.length === 1) throw errors[0];
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** One attempt in this process, of what would travel: nothing is stored, sent or tried again. For `@machinery/core/testing`. */
  protected async attempt(signature: Signature): Promise<Ended> {
    this.#refuseWhenClosed();
    const message = this.#engine.sender.encode(this.#prepare(signature, undefined));
    if (message instanceof MachineryError) throw message;
    const received = decodeSignature(message.body);
    const task = this.getRegisteredTask(received.name);
    const attempt = new Attempt(received as Sendable, this.#engine);
    const args = attempt.decodeArgs(task);
    if (args !== undefined) {
      await attempt.result(task, args);
      await new Promise((resolve) => setImmediate(resolve)); // by then what it left rejected was reported
    }
    return attempt.seal();
  }

  #prepare(signature: Signature, options: SendOptions | undefined): Sendable {
    checkIsSignature(signature);
    const wanted =
      options === undefined ? signature : withOptions(signature, options, { signal: optional(abortSignal) });
    if (options?.signal?.aborted) throw sendAborted(signature, options.signal);
    return this.#engine.sender.complete(this.#delayed(checkSignature(wanted)));
  }

  /** A `delayMs` counts from now. */
  #delayed<S extends Signature>(signature: S): S {
    const delayMs = delayOf(signature);
    return delayMs === undefined ? signature : { ...signature, eta: etaAfter(delayMs, this.#engine.clock) };
  }

  #refuseWhenClosed(): void {
    if (this.#closing !== undefined) throw closedError();
  }
}

function closedError(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The server is closed');
}

function aboutSending(
  kind: Sending['kind'],
  periodicEntry: string | undefined,
): Pick<Sending, 'kind' | 'periodicEntry'> {
  return periodicEntry === undefined ? { kind } : { kind, periodicEntry };
}

function throwUnlessSent({ name, uuid }: Sendable, outcome: Outcome): void {
  if (outcome.status === 'stored') return;
  if (outcome.status === 'failed') throw outcome.error;
  throw new MachineryError(
    'ERR_MACHINERY_PUBLISH_UNKNOWN',
    `Task ${name} (${uuid}) may or may not have been published: ${outcome.error.message}`,
    { cause: outcome.error },
  );
}

function decodeAll(bodies: readonly string[]): Signature[] {
  return bodies.flatMap((body) => {
    try {
      return [decodeSignature(body)];
    } catch {
      return [];
    }
  });
}
