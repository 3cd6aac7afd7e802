// A trace that passes a Go worker, which keeps Headers: what it runs has no span, and what it sets off still belongs to the trace.

import { RedisBackend } from '@machinery/backend-redis';
import { AmqpBroker } from '@machinery/broker-amqp';
import { RedisBroker } from '@machinery/broker-redis';
import { type Broker, chain, chord, defineTask, int64, rest, Server, silentLogger } from '@machinery/core';
import { OpenTelemetry } from '@machinery/opentelemetry';
import { rabbitServer, redisServer } from '@machinery/services';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { buildGoPeer, findGo, Peers } from './peers.ts';

const [redis, rabbit] = [await redisServer(), await rabbitServer()];
const go = redis && findGo();
const peers = new Peers();

new NodeTracerProvider().register(); // the context, and W3C in the headers; each test has spans of its own

const add = defineTask('add', { args: rest(int64), returns: int64 }); // which Go runs
const collect = defineTask('collect', { args: rest(int64), returns: int64 });

describe.skipIf(go === undefined)('a trace through a Go worker', { timeout: 60_000 }, () => {
  beforeAll(() => buildGoPeer(go as string), 600_000);
  afterAll(async () => {
    await peers.end();
    await Promise.all([rabbit?.stop(), redis?.stop()]);
  });

  it.each<[string, boolean, string | undefined, (queue: string) => Broker]>([
    ['Redis', true, redis?.url, () => new RedisBroker({ url: redis?.url as string })],
    [
      'RabbitMQ',
      rabbit !== undefined,
      rabbit?.url,
      (queue) => new AmqpBroker({ url: rabbit?.url as string, exchange: 'otel', bindingKey: queue }),
    ],
  ])('holds together on %s, from a chain into a chord', async (name, isThere, url, makeBroker) => {
    if (!isThere) return;
    const exporter = new InMemorySpanExporter();
    const tracerProvider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
    const id = `otel-${process.pid}-${name}`;
    const [ours, gos] = [`${id}-ts`, `${id}-go`];
    const where = ['--broker', url as string, '--backend', redis?.url as string, '--queue', gos];
    const worker = peers.start('Go', ['worker', ...where, '--exchange', 'otel', '--binding', gos]);
    await worker.printed('Waiting for messages');
    const backend = new RedisBackend({ url: redis?.url as string });
    const telemetry = new OpenTelemetry({ tracerProvider });
    const options = { broker: makeBroker(ours), backend, telemetry, defaultQueue: ours, logger: silentLogger };
    const server = new Server(options);
    onTestFinished(() => server.close());
    server.handle(collect, (_task, ...numbers) => numbers.reduce((a, b) => a + b, 0));
    await server.newWorker('ts').start();

    const onGo = { queue: gos };
    const last = collect.partial(100).with({ queue: ours }); // Go sends what names no queue to its own
    const work = chain(collect(1), add.partial(10).with(onGo), chord([add.partial(1).with(onGo)], last));
    const result = await server.send(work);
    expect(await result.get({ timeoutMs: 30_000 })).toBe(112);
    await expect.poll(() => exporter.getFinishedSpans().length).toBe(4);
    const spans = exporter.getFinishedSpans();
    expect(new Set(spans.map((span) => span.spanContext().traceId)).size).toBe(1);
    const ids = new Map(spans.map((span) => [span.name, span.spanContext().spanId]));
    const parents = spans.map(({ name: is, parentSpanContext }) => [is, parentSpanContext?.spanId]);
    expect(parents.toSorted()).toEqual(
      [
        ['send chain', undefined],
        ['process collect', ids.get('send chain')],
        [
          'send add',
          spans.find((span) => span.parentSpanContext?.spanId === ids.get('send chain'))?.spanContext().spanId,
        ],
        ['process collect', ids.get('send add')],
      ].toSorted(),
    );
  });
});
