// What core tells a tracing or metrics library: three functions, all optional. The default is nothing at all.

import type { Ended } from './attempt.ts';
import { errorText } from './errors.ts';
import type { Logger } from './logger.ts';
import type { Signature } from './signature.ts';

/** What is counted. Durations are in milliseconds. */
export type Metric = 'task.sent' | 'task.succeeded' | 'task.failed' | 'task.retried' | 'task.duration';

/** Spans and metrics. Every member is optional; what they throw is logged and otherwise ignored. */
export interface Telemetry {
  /** Called for each signature before it is published: answers headers to add (a trace context), strings only. */
  injectHeaders?(signature: Signature): Readonly<Record<string, string>> | undefined;
  /**
   * Wraps one attempt of a task, for a span around it: must call `run` once, at once, and resolve after it. `run` never
   * rejects: it answers how the attempt ended.
   */
  runTask?(signature: Signature, run: () => Promise<Ended>): Promise<unknown>;
  /** Called for each event: 1 for counts, milliseconds for durations. */
  record?(metric: Metric, value: number, attributes: { readonly task: string; readonly queue: string }): void;
}

/** Calls the members of a Telemetry so that nothing that they throw gets further than the logger. */
export class SafeTelemetry {
  readonly #telemetry: Telemetry;
  readonly #logger: Logger;

  constructor(telemetry: Telemetry, logger: Logger) {
    this.#telemetry = telemetry;
    this.#logger = logger;
  }

  /** Whether something goes around attempts. */
  get wrapsTasks(): boolean {
    return this.#telemetry.runTask !== undefined;
  }

  /** Whether events are counted. */
  get records(): boolean {
    return this.#telemetry.record !== undefined;
  }

  injectHeaders(signature: Signature): Readonly<Record<string, string>> | undefined {
    if (this.#telemetry.injectHeaders === undefined) return undefined;
    return this.#guarded(() => this.#telemetry.injectHeaders?.(signature));
  }

  /** Runs an attempt, once, whatever the wrapper does. */
  runTask(signature: Signature, run: () => Promise<Ended>): Promise<unknown> {
    return this.#telemetry.runTask === undefined ? run() : this.#runWrapped(signature, run);
  }

  async #runWrapped(signature: Signature, run: () => Promise<Ended>): Promise<void> {
    let running: Promise<Ended> | undefined;
    const once = () => {
      running ??= run();
      return running;
    };
    const wrapped = this.#guarded(() => this.#telemetry.runTask?.(signature, once));
    await Promise.resolve(wrapped).catch((error) => this.#failed(error));
    await once();
  }

  record(metric: Metric, value: number, { name, routingKey = '' }: Signature): void {
    if (this.#telemetry.record === undefined) return;
    this.#guarded(() => this.#telemetry.record?.(metric, value, { task: name, queue: routingKey }));
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
