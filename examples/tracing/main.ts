// The trace of a chord, printed as a tree: on the in-memory engine, or on the servers of `--broker` and `--backend`.

import { parseArgs } from 'node:util';
import { chord, defineTask, int64, rest, Server, silentLogger } from '@machinery/core';
import { configFromEnvironment, createBackend, createBroker } from '@machinery/core/config';
import { OpenTelemetry } from '@machinery/opentelemetry';
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const multiply = defineTask('multiply', { args: rest(int64), returns: int64 });

const exporter = new InMemorySpanExporter(); // elsewhere: one that sends them to where you look at traces
new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();

const { values } = parseArgs({
  options: { broker: { type: 'string', default: 'memory://' }, backend: { type: 'string', default: 'memory://' } },
});
const config = { ...configFromEnvironment(), broker: values.broker, resultBackend: values.backend };
const server = new Server({
  broker: await createBroker(config),
  backend: await createBackend(config),
  defaultQueue: 'machinery_trace',
  logger: silentLogger,
  telemetry: new OpenTelemetry(),
});
server.handle(add, (_task, ...terms) => terms.reduce((sum, term) => sum + term, 0));
server.handle(multiply, (_task, ...factors) => factors.reduce((product, factor) => product * factor, 1));
await server.newWorker('trace-worker', { concurrency: 1 }).start();
const result = await server.send(chord([add(1, 1), add(2, 2), add(5, 6)], multiply.partial()));
await result.get({ timeoutMs: 10_000 });
await server.close();
printTree(exporter.getFinishedSpans());

/** Each span below its parent, in the order in which they began. */
function printTree(spans: readonly ReadableSpan[], parentId?: string, indent = ''): void {
  for (const span of spans.filter(({ parentSpanContext }) => parentSpanContext?.spanId === parentId)) {
    console.log(`${indent}${span.name}`);
    printTree(spans, span.spanContext().spanId, `${indent}  `);
  }
}
