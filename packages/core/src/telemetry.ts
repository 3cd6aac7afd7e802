// What core tells a tracing or metrics library: four functions, all optional. The default is nothing at all.

import type { Ended } from './attempt.ts';
import { errorText } from './errors.ts';
import type { Logger } from './logger.ts';
import type { Signature } from './signature.ts';

/** What is counted, or measured in milliseconds. */
export type Metric =
  /** 1 for each message that the broker has taken, retries and callbacks too. */
  | 'task.sent'
  /** 1 for each delivery of a task that is registered here. */
  | 'task.received'
  /** 1 for each of these that is a redelivery. */
  | 'task.redelivered'
  /** How long a task waited for its attempt, in milliseconds: since its ETA or since it was sent, whichever is later. Not of Go's messages without an ETA. */
  | 'task.waited'
  /** 1 when an attempt begins, -1 when it has ended: the sum is what runs. */
  | 'task.running'
  /** How long an attempt took, in milliseconds. */
  | 'task.duration'
  /** 1 for each task that ended so. */
  | 'task.succeeded'
  | 'task.failed'
  /** 1 for each attempt after which the task is tried again. */
  | 'task.retried';

export interface MetricAttributes {
  readonly task: string;
  /** Its routing key. */
  readonly queue: string;
  /** The broker's name, as adapters have it: `@machinery/broker-amqp`. */
  readonly broker: string;
  /** What was thrown: of `task.failed`, `task.retried`, and `task.duration` of an attempt that failed. */
  readonly error?: unknown;
}

/** What is published together. */
export interface Sending {
  /** `task`: one, by `Server.send`. `callbacks`: what the end of a task sets off. */
  readonly kind: 'task' | 'chain' | 'group' | 'chord' | 'callbacks';
  /** What is published, complete but for the headers of `injectHeaders`: what follows these is in them. */
  readonly signatures: readonly Signature[];
  /** Of callbacks: the task that sets them off, the same object that `runTask` got if its attempt was here. */
  readonly after?: Signature;
  /** The name of the periodic entry whose tick this is. */
  readonly periodicEntry?: string;
  /** The broker's name. */
  readonly broker: string;
}

/** Where a task came from. */
export interface Receipt {
  readonly queue: string;
  readonly consumerTag: string;
  /** From 1, as far as attempts were counted: Go does not. */
  readonly attempt: number;
  /** Its task may have begun before. */
  readonly redelivered: boolean;
  /** The broker's name. */
  readonly broker: string;
}

/** Spans and metrics. Every member is optional; what they throw is logged and otherwise ignored. */
export interface Telemetry {
  /**
   * Called for each signature that is sent, inside of `runSend`: answers headers to add (a trace context), strings only. Also called for
   * all callbacks in it, because Go's workers send those as they came; ours call it again when they send them.
   */
  injectHeaders?(signature: Signature): Readonly<Record<string, string>> | undefined;
  /**
   * Wraps what is published together, for a span around it: must call `run` once, at once, and resolve after it. `run`
   * never rejects: it answers why it failed, or undefined.
   */
  runSend?(sending: Sending, run: () => Promise<unknown>): Promise<unknown>;
  /**
   * Wraps one attempt of a task, for a span around it: must call `run` once, at once, and resolve after it. `run` never
   * rejects: it answers how the attempt ended.
   */
  runTask?(signature: Signature, run: () => Promise<Ended>, receipt: Receipt): Promise<unknown>;
  /** Called for each event. */
  record?(metric: Metric, value: number, attributes: MetricAttributes): void;
}

/** Calls the members of a Telemetry so that nothing that they throw gets further than the logger. */
export class SafeTelemetry {
  readonly #telemetry: Telemetry;
  readonly #logger: Logger;
  readonly #broker: string;
  /** Whether events are counted. */
  readonly records: boolean;

  constructor(telemetry: Telemetry, logger: Logger, broker: string) {
    this.#telemetry = telemetry;
    this.#logger = logger;
    this.#broker = broker;
    this.records = telemetry.record !== undefined;
  }

  /** Whether something goes around attempts. */
  get wrapsTasks(): boolean {
    return this.#telemetry.runTask !== undefined;
  }

  /** Whether what is sent gets headers, or something around it. */
  get seesSends(): boolean {
    return this.#telemetry.injectHeaders !== undefined || this.#telemetry.runSend !== undefined;
  }

  injectHeaders(signature: Signature): Readonly<Record<string, string>> | undefined {
    return this.#guarded(() => this.#telemetry.injectHeaders?.(signature));
  }

  /** Sends, once, whatever the wrapper does. Rejects as `run` does. */
  runSend<T>(sending: Omit<Sending, 'broker'>, run: () => Promise<T>): Promise<T> {
    return this.#telemetry.runSend === undefined ? run() : this.#sendWrapped(sending, run);
  }

  async #sendWrapped<T>(sending: Omit<Sending, 'broker'>, run: () => Promise<T>): Promise<T> {
    const once = onlyOnce(run);
    const outcome = () =>
      once().then(
        () => undefined,
        (error) => error,
      );
    await this.#settled(() => this.#telemetry.runSend?.({ ...sending, broker: this.#broker }, outcome));
    return once();
  }

  /** Runs an attempt, once, whatever the wrapper does. */
  runTask(signature: Signature, run: () => Promise<Ended>, receipt: Omit<Receipt, 'broker'>): Promise<unknown> {
    return this.#telemetry.runTask === undefined ? run() : this.#runWrapped(signature, run, receipt);
  }

  async #runWrapped(
    signature: Signature,
    run: () => Promise<Ended>,
    receipt: Omit<Receipt, 'broker'>,
  ): Promise<unknown> {
    const once = onlyOnce(run);
    await this.#settled(() => this.#telemetry.runTask?.(signature, once, { ...receipt, broker: this.#broker }));
    return once();
  }

  record(metric: Metric, value: number, { name, routingKey = '' }: Signature, error?: unknown): void {
    if (!this.records) return;
    const attributes = { task: name, queue: routingKey, broker: this.#broker, ...(error !== undefined && { error }) };
    this.#guarded(() => this.#telemetry.record?.(metric, value, attributes));
  }

  async #settled(call: () => Promise<unknown> | undefined): Promise<void> {
    try {
      await call();
    } catch (error) {
      this.#failed(error);
    }
  }

  #guarded<T>(call: () => T): T | undefined {
    try {
      return call();
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  #failed(error: unknown): void {
    this.#logger.error(`Telemetry failed: ${errorText(error)}`, error);
  }
}

function onlyOnce<T>(run: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => {
    running ??= run();
    return running;
  };
}
