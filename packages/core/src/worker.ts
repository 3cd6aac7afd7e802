// A worker's life cycle: options, start, signals, pause, stop. It joins `consumer.ts`, which keeps its slots filled, with
// `processor.ts`, which carries out each delivery.
//
// States: new -> running <-> paused -> stopping -> stopped. A stopped worker is not started again.

import { ConsumerLoop } from './consumer.ts';
import type { Engine } from './engine.ts';
import { errorText, MachineryError } from './errors.ts';
import type { WorkerHealth } from './health.ts';
import { checkOptions, fn, integer, invalidOption, optional, show, string, timerMs } from './options.ts';
import { Processor } from './processor.ts';
import type { Server } from './server.ts';
import type { Signature } from './signature.ts';
import { guardProcess } from './task-context.ts';

export interface WorkerOptions {
  /** How many tasks run at once. Default: 10. 0 is Go's "no limit", which means 1,000. */
  readonly concurrency?: number;
  /**
   * How many messages may be taken ahead while tasks are quick, so that the next are there when the last have ended. They
   * are given back when they wait for longer than 10 ms. Default: as many as make 300 with the concurrency; 0: none. Brokers
   * that push (AMQP, Pub/Sub) have settings of their own, and with a `preConsumeHandler` none are taken ahead. While a task
   * blocks the event loop, what was taken ahead waits with it.
   */
  readonly prefetch?: number;
  /** The queue to consume. Default: the server's default queue. */
  readonly queue?: string;
  /** A task whose message was delivered more often than this without being settled ends its process, and is a FAILURE. Default: 10. */
  readonly maxDeliveries?: number;
  /** Told of what fails: the last attempt of a task (with its signature), or the broker. */
  readonly errorHandler?: (error: unknown, signature?: Signature) => unknown;
  /** Called before each attempt; it waits for the answer. */
  readonly preTaskHandler?: (signature: Signature) => unknown;
  /** Called after each attempt, however it ended; it waits for the answer. */
  readonly postTaskHandler?: (signature: Signature) => unknown;
  /** Asked before messages are taken: false takes none and asks again a little later. */
  readonly preConsumeHandler?: (worker: Worker) => boolean | Promise<boolean>;
}

export class Worker implements AsyncDisposable {
  readonly server: Server;
  readonly consumerTag: string;
  readonly concurrency: number;
  readonly queue: string;
  readonly #loop: ConsumerLoop;
  readonly #processor: Processor;
  readonly #errorHandler: WorkerOptions['errorHandler'];
  readonly #onStopped: () => void;
  readonly #ended: Promise<void>;
  #end: () => void = () => {};
  #unguard: (() => void) | undefined;
  #started: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  /** @internal Made by `server.newWorker`. */
  constructor(server: Server, engine: Engine, consumerTag: string, options: WorkerOptions, onStopped: () => void) {
    if (string(consumerTag) !== undefined)
      throw invalidOption(
        `newWorker: expected the consumer tag to be ${string(consumerTag)}, got ${show(consumerTag)}`,
      );
    checkOptions('newWorker', options, {
      concurrency: optional(integer({ min: 0, max: 100_000 })),
      queue: optional(string),
      prefetch: optional(integer({ min: 0, max: 10_000 })),
      maxDeliveries: optional(integer({ min: 1 })),
      errorHandler: optional(fn),
      preTaskHandler: optional(fn),
      postTaskHandler: optional(fn),
      preConsumeHandler: optional(fn),
    });
    const { preConsumeHandler, preTaskHandler, postTaskHandler, maxDeliveries = 10, concurrency = 10 } = options;
    this.server = server;
    this.consumerTag = consumerTag;
    this.concurrency = concurrency === 0 ? 1_000 : concurrency;
    this.queue = options.queue ?? server.defaultQueue;
    this.#errorHandler = options.errorHandler;
    this.#onStopped = onStopped;
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const errorHandler = (error: unknown, signature?: Signature) => this.#report(error, signature);
    this.#processor = new Processor({
      engine,
      queue: this.queue,
      consumerTag,
      maxDeliveries,
      errorHandler,
      preTaskHandler,
      postTaskHandler,
    });
    this.#loop = new ConsumerLoop({
      broker: server.broker,
      queue: this.queue,
      tag: consumerTag,
      concurrency: this.concurrency,
      logger: server.logger,
      handle: (hold) => this.#processor.handle(hold),
      prefetch: options.prefetch,
      mayTake: preConsumeHandler && (() => preConsumeHandler(this)),
      onError: errorHandler,
    });
  }

  /** Starts to take messages; resolves when it does. A broker that is away is waited for. Signals are left to the caller. */
  start(): Promise<void> {
    if (this.#stopped !== undefined)
      return Promise.reject(
        new MachineryError('ERR_MACHINERY_CLOSED', `Worker ${this.consumerTag} was stopped: make a new one`),
      );
    this.#started ??= this.#start();
    return this.#started;
  }

  /**
   * Starts and resolves when the worker has stopped. The first SIGINT or SIGTERM stops taking and waits for running
   * tasks, the second aborts them and gives their messages back; with `handleSignals: false` of the server, none does.
   */
  async launch(): Promise<void> {
    const onSignal = (signal: NodeJS.Signals) => {
      this.server.logger.warn(
        `${signal}: worker ${this.consumerTag} ${this.#stopped === undefined ? 'stops after its running tasks; once more to abort them' : 'aborts its running tasks'}`,
      );
      void this.quit().catch((error) => this.#report(error));
    };
    if (this.server.handlesSignals) process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
    try {
      await this.start();
      await this.#ended;
    } finally {
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    }
  }

  /** @internal `start` was called. */
  get isStarted(): boolean {
    return this.#started !== undefined;
  }

  /** How it is, for probes. */
  health(): WorkerHealth {
    const { consumerTag, queue } = this;
    const { isConnected: connected, isConsuming: consuming, inHand } = this.#loop;
    return { consumerTag, queue, connected, consuming, inHand, lastSuccessAt: this.#processor.lastSuccessAt };
  }

  /** Takes no more messages until `resume`; running tasks go on. */
  pause(): void {
    this.#loop.pause();
  }

  resume(): void {
    this.#loop.resume();
  }

  /**
   * Stops taking, and resolves when running tasks are done and settled. Called a second time, or after `timeoutMs`, it
   * aborts them: their AbortSignal fires and their messages go back to the queue.
   */
  quit(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    checkOptions('quit', options, { timeoutMs: optional(timerMs({ min: 0 })) });
    if (this.#stopped !== undefined || options.timeoutMs === 0) this.#abort();
    const stopped = this.#stop();
    if (options.timeoutMs !== undefined && options.timeoutMs > 0) {
      const timer = setTimeout(() => this.#abort(), options.timeoutMs);
      void stopped.finally(() => clearTimeout(timer));
    }
    return stopped;
  }

  /** Like the first `quit`, also when it is not the first. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#stop();
  }

  async #start(): Promise<void> {
    if (this.server.getRegisteredTaskNames().length === 0)
      this.server.logger.warn(`Worker ${this.consumerTag} has no task to run: register them with server.handle first`);
    this.#unguard = guardProcess();
    const { broker, backend, logger, resultsExpireInSeconds } = this.server;
    logger.info(`Worker ${this.consumerTag} consumes queue ${this.queue}`, {
      broker: broker.name,
      backend: backend.name,
      concurrency: this.concurrency,
      resultsExpireInSeconds,
      tasks: this.server.getRegisteredTaskNames(),
    });
    try {
      await this.#loop.start();
    } catch (error) {
      this.#unguard();
      throw error;
    }
  }

  #stop(): Promise<void> {
    this.#stopped ??= this.#stopOnce();
    return this.#stopped;
  }

  async #stopOnce(): Promise<void> {
    const stopping = this.#loop.stop();
    await this.#started?.catch(() => {}); // `start` has told its caller
    await stopping;
    await this.#loop.stop(); // what had not begun when it was told to stop
    this.#unguard?.();
    this.#onStopped();
    this.#end();
  }

  #abort(): void {
    this.#loop.abort(); // first: or the slots of what is aborted are filled again
    this.#processor.abort(
      new MachineryError('ERR_MACHINERY_ABORTED', `Worker ${this.consumerTag} was told to stop at once`),
    );
  }

  #report(error: unknown, signature?: Signature): void {
    const failed = (thrown: unknown) =>
      this.server.logger.error(`errorHandler of worker ${this.consumerTag} failed: ${errorText(thrown)}`, thrown);
    try {
      Promise.resolve(this.#errorHandler?.(error, signature)).catch(failed);
    } catch (thrown) {
      failed(thrown);
    }
  }
}
