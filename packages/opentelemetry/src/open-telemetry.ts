// Core's Telemetry with OpenTelemetry: a producer span around what is sent together, whose context goes into the headers,
// and a consumer span around each attempt, which follows that context. What a finished task sets off follows its span.

import {
  type Broker,
  checkOptions,
  type Ended,
  errorText,
  functionOption,
  MachineryError,
  type Metric,
  type MetricAttributes,
  objectOption,
  optionalOption,
  type Receipt,
  type Sending,
  type Signature,
  type Telemetry,
} from '@machinery/core';
import {
  type Attributes,
  type Context,
  context,
  type MeterProvider,
  metrics,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  type TextMapPropagator,
  type Tracer,
  type TracerProvider,
  trace,
} from '@opentelemetry/api';
import { attribute, errorType, operationAttributes } from './conventions.ts';
import { headersOf, linksTo, senderContext } from './headers.ts';
import { TaskMetrics } from './task-metrics.ts';

export interface OpenTelemetryOptions {
  /** Default: the one that the SDK has registered. */
  readonly tracerProvider?: TracerProvider;
  /** Default: the one that the SDK has registered by the time that this is made. */
  readonly meterProvider?: MeterProvider;
  /** How the context is written into headers. Default: as the SDK was told, which is W3C unless it was told otherwise. */
  readonly propagator?: TextMapPropagator;
  /**
   * Whose attempts each begin a trace of their own, with a link to who sent them, in place of going on with the sender's: for
   * tasks that send themselves again for ever. Default: none.
   */
  readonly startsTrace?: (signature: Signature) => boolean;
}

const scope = '@machinery/opentelemetry';

/** @throws MachineryError ERR_MACHINERY_INVALID_OPTION. */
export class OpenTelemetry implements Telemetry {
  readonly #tracer: Tracer;
  readonly #metrics: TaskMetrics;
  readonly #propagator: TextMapPropagator | undefined;
  readonly #startsTrace: (signature: Signature) => boolean;
  /** The contexts of attempts that were here. */
  readonly #attempts = new WeakMap<Signature, Context>();
  /** The last tick of each periodic entry. */
  readonly #ticks = new Map<string, SpanContext>();

  constructor(options: OpenTelemetryOptions = {}) {
    checkOptions('OpenTelemetry', options, {
      tracerProvider: optionalOption(objectOption),
      meterProvider: optionalOption(objectOption),
      propagator: optionalOption(objectOption),
      startsTrace: optionalOption(functionOption),
    });
    const { tracerProvider = trace, meterProvider = metrics, propagator, startsTrace = () => false } = options;
    this.#tracer = tracerProvider.getTracer(scope);
    this.#metrics = new TaskMetrics(meterProvider.getMeter(scope));
    this.#propagator = propagator;
    this.#startsTrace = startsTrace;
  }

  injectHeaders(): Record<string, string> {
    return headersOf(context.active(), this.#propagator);
  }

  async runSend(sending: Sending, run: () => Promise<unknown>): Promise<void> {
    const { parent, span } = this.#startSend(sending);
    const startedAt = performance.now();
    const error = await context.with(trace.setSpan(parent, span), run);
    const ms = performance.now() - startedAt;
    if (error !== undefined) fail(span, error);
    span.end();
    this.#metrics.sent(ms, {
      ...operationAttributes('send', sending.broker),
      ...destination(sending.signatures),
      ...(error !== undefined && { [attribute.errorType]: errorType(error) }),
    });
  }

  async runTask(signature: Signature, run: () => Promise<Ended>, receipt: Receipt): Promise<void> {
    const { parent, span } = this.#startProcess(signature, receipt);
    const inSpan = trace.setSpan(parent, span);
    this.#attempts.set(signature, inSpan);
    const ended = await context.with(inSpan, run);
    if (ended.kind === 'failure') {
      // Not a failure: the task asked to run again later.
      if (MachineryError.is(ended.error, 'ERR_MACHINERY_RETRY_LATER')) span.addEvent('machinery.retry_later');
      else fail(span, ended.error);
    }
    span.end();
  }

  record(name: Metric, value: number, attributes: MetricAttributes): void {
    this.#metrics.record(name, value, attributes);
  }

  /**
   * Observes how many messages wait in a queue, by asking the broker whenever metrics are collected: let one process do it. Answers
   * the function that ends it; undefined where the broker cannot count.
   */
  observeQueue(broker: Broker, queue: string): (() => void) | undefined {
    return this.#metrics.observeQueue(broker, queue);
  }

  #startSend(sending: Sending): { readonly parent: Context; readonly span: Span } {
    const { kind, signatures, after, periodicEntry } = sending;
    const [first] = signatures;
    const name = isWorkflow(kind) || signatures.length > 1 ? kind : first?.name;
    const attributes = sendAttributes(sending);
    const settings = { kind: SpanKind.PRODUCER, attributes };
    if (periodicEntry === undefined) {
      const parent = after === undefined ? context.active() : this.#contextOf(after);
      return { parent, span: this.#tracer.startSpan(`send ${name}`, settings, parent) };
    }
    // Each tick is a trace of its own: its timer was started in the context of who registered the entry, days ago perhaps.
    const links = linksTo(trace.getActiveSpan(), this.#ticks.get(periodicEntry));
    const span = this.#tracer.startSpan(`send ${name}`, { ...settings, root: true, links }, ROOT_CONTEXT);
    this.#ticks.set(periodicEntry, span.spanContext());
    return { parent: ROOT_CONTEXT, span };
  }

  #startProcess(signature: Signature, receipt: Receipt): { readonly parent: Context; readonly span: Span } {
    const sender = senderContext(signature, this.#propagator);
    const settings = { kind: SpanKind.CONSUMER, attributes: processAttributes(signature, receipt) };
    const name = `process ${signature.name}`;
    if (!this.#startsTrace(signature)) return { parent: sender, span: this.#tracer.startSpan(name, settings, sender) };
    const links = linksTo(trace.getSpan(sender));
    return { parent: sender, span: this.#tracer.startSpan(name, { ...settings, root: true, links }, sender) };
  }

  /** Where what a task sets off belongs: to its attempt, or to its sender when that was not here. */
  #contextOf(task: Signature): Context {
    return this.#attempts.get(task) ?? senderContext(task, this.#propagator);
  }
}

function sendAttributes({ kind, signatures, periodicEntry, broker }: Sending): Attributes {
  const [first] = signatures;
  const single = signatures.length === 1 ? first : undefined;
  return {
    ...operationAttributes('send', broker),
    ...destination(signatures),
    ...(single === undefined
      ? { [attribute.messageCount]: signatures.length }
      : { [attribute.messageId]: single.uuid, [attribute.task]: single.name }),
    ...(single?.eta !== undefined && { [attribute.eta]: String(single.eta) }),
    ...(first?.groupUuid && isWorkflow(kind) && { [attribute.group]: first.groupUuid }),
    ...(isWorkflow(kind) && { [attribute.workflow]: kind }),
    ...(periodicEntry !== undefined && { [attribute.periodicEntry]: periodicEntry }),
  };
}

function isWorkflow(kind: Sending['kind']): boolean {
  return kind !== 'task' && kind !== 'callbacks';
}

/** Where all of them go, if that is one queue. */
function destination([first, ...others]: readonly Signature[]): Attributes {
  const queue = first?.routingKey;
  if (queue === undefined || others.some(({ routingKey }) => routingKey !== queue)) return {};
  return { [attribute.destination]: queue };
}

function processAttributes(signature: Signature, receipt: Receipt): Attributes {
  const { queue, consumerTag, attempt, redelivered, broker } = receipt;
  const { uuid, name, eta, groupUuid, retryCount = 0 } = signature;
  return {
    ...operationAttributes('process', broker),
    [attribute.destination]: queue,
    [attribute.clientId]: consumerTag,
    ...(uuid !== undefined && { [attribute.messageId]: uuid }),
    [attribute.task]: name,
    [attribute.attempt]: attempt,
    [attribute.retriesLeft]: retryCount,
    ...(eta !== undefined && { [attribute.eta]: String(eta) }),
    ...(groupUuid && { [attribute.group]: groupUuid }),
    ...(redelivered && { [attribute.redelivered]: true }),
  };
}

function fail(span: Span, error: unknown): void {
  const message = errorText(error);
  span.recordException(error instanceof Error ? error : message);
  span.setAttribute(attribute.errorType, errorType(error));
  span.setStatus({ code: SpanStatusCode.ERROR, message });
}
