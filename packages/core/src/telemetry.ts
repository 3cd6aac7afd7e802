// What core tells a tracing or metrics library. The default is nothing at all; an OpenTelemetry adapter is three short functions.

import type { Signature } from './signature.ts';

/** What is counted. Durations are in milliseconds. */
export type Metric = 'task.sent' | 'task.succeeded' | 'task.failed' | 'task.retried' | 'task.duration';

/** Spans and metrics. Every member is optional; what they throw is logged and otherwise ignored. */
export interface Telemetry {
  /** Called for each signature before it is published: answers headers to add (a trace context), strings only. */
  injectHeaders?(signature: Signature): Readonly<Record<string, string>> | undefined;
  /** Wraps one attempt of a task, for a span around it. Must call `run` once, at once, and answer what it answers. */
  runTask?<T>(signature: Signature, run: () => T): T;
  /** Called for each event: 1 for counts, milliseconds for durations. */
  record?(metric: Metric, value: number, attributes: { readonly task: string; readonly queue: string }): void;
}
