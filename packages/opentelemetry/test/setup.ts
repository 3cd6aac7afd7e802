// The real SDK, with what it would export kept in memory, and looks at it.

import { Server, type ServerOptions, silentLogger } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { context, propagation, type TextMapPropagator } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { type DataPoint, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { onTestFinished } from 'vitest';
import { OpenTelemetry, type OpenTelemetryOptions } from '../src/index.ts';

// As the SDK registers them; the providers are each test's own.
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
propagation.setGlobalPropagator(new W3CTraceContextPropagator());

class Reader extends MetricReader {
  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}

export class Sdk {
  readonly #exporter = new InMemorySpanExporter();
  readonly #reader = new Reader();
  readonly tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(this.#exporter)] });
  readonly meterProvider = new MeterProvider({ readers: [this.#reader] });
  readonly tracer = this.tracerProvider.getTracer('test');

  /** Of one process. */
  telemetry(options: OpenTelemetryOptions = {}): OpenTelemetry {
    const { tracerProvider, meterProvider } = this;
    return new OpenTelemetry({ tracerProvider, meterProvider, ...options });
  }

  get spans(): readonly ReadableSpan[] {
    return this.#exporter.getFinishedSpans();
  }

  /** The only span of a name. */
  span(name: string): ReadableSpan {
    const found = this.spans.filter((span) => span.name === name);
    if (found.length !== 1) throw new Error(`There are ${found.length} spans ${name} among:\n${this.tree()}`);
    return found[0] as ReadableSpan;
  }

  /** The names of all spans, each below its parent, and children in the order of their names. */
  tree(): string {
    const ids = new Set(this.spans.map((span) => span.spanContext().spanId));
    const lines = (parentId: string | undefined, indent: string): string[] =>
      this.spans
        .filter(({ parentSpanContext: parent }) =>
          parentId === undefined ? parent === undefined || !ids.has(parent.spanId) : parent?.spanId === parentId,
        )
        .toSorted((a, b) => (a.name < b.name ? -1 : 1))
        .flatMap((span) => [`${indent}${span.name}`, ...lines(span.spanContext().spanId, `${indent}  `)]);
    return lines(undefined, '').join('\n');
  }

  /** How many traces there are. */
  get traces(): number {
    return new Set(this.spans.map((span) => span.spanContext().traceId)).size;
  }

  /** The data points of a metric. */
  async points(name: string): Promise<readonly DataPoint<unknown>[]> {
    const { resourceMetrics, errors } = await this.#reader.collect();
    if (errors.length > 0) throw errors[0];
    const all = resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics);
    return all.find(({ descriptor }) => descriptor.name === name)?.dataPoints ?? [];
  }
}

/** A server on the in-memory engine, which is closed when the test is over. */
export function memoryServer(options: Partial<ServerOptions> & { readonly propagator?: TextMapPropagator } = {}) {
  const sdk = new Sdk();
  const { propagator, ...others } = options;
  const telemetry = sdk.telemetry(propagator && { propagator });
  const broker = new MemoryBroker();
  const given = { broker, backend: new MemoryBackend(), logger: silentLogger, telemetry, defaultQueue: 'q' };
  const server = new Server({ ...given, ...others });
  onTestFinished(() => server.close());
  return { sdk, server, broker, telemetry };
}
