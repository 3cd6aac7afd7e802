// What is traced, on the in-memory engine.

import { chain, chord, defineTask, group, int64, RetryLater, rest, type Server, slice, string } from '@machinery/core';
import { EagerLock } from '@machinery/lock-eager';
import { context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { B3InjectEncoding, B3Propagator } from '@opentelemetry/propagator-b3';
import { describe, expect, it } from 'vitest';
import { memoryServer, Sdk } from './setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const sum = defineTask('sum', { args: [slice(int64)], returns: int64 });
const log = defineTask('log', { args: [string] });
const fail = defineTask('fail', { args: [string] });

async function startWorker(server: Server): Promise<void> {
  server.handle(add, (_task, ...terms) => terms.reduce((a, b) => a + b, 0));
  server.handle(sum, (_task, terms) => terms.reduce((a, b) => a + b, 0));
  server.handle(log, () => {});
  server.handle(fail, (_task, text) => {
    throw new TypeError(text);
  });
  await server.newWorker('worker-1').start();
}

describe('a task', () => {
  it('is a producer span and a consumer span below it, with the attributes of the conventions', async () => {
    const { sdk, server } = memoryServer();
    await startWorker(server);
    const result = await server.send(add(1, 2), { retries: 2 });
    await result.get();
    await server.close();
    expect(sdk.tree()).toBe('send add\n  process add');
    const broker = '@machinery/core/memory MemoryBroker';
    const both = { 'messaging.system': broker, 'messaging.destination.name': 'q', 'machinery.task.name': 'add' };
    const send = sdk.span('send add');
    expect(send.kind).toBe(SpanKind.PRODUCER);
    expect(send.attributes).toEqual({
      ...both,
      'messaging.operation.name': 'send',
      'messaging.operation.type': 'send',
      'messaging.message.id': result.uuid,
    });
    const process = sdk.span('process add');
    expect(process.kind).toBe(SpanKind.CONSUMER);
    expect(process.attributes).toEqual({
      ...both,
      'messaging.operation.name': 'process',
      'messaging.operation.type': 'process',
      'messaging.message.id': result.uuid,
      'messaging.client.id': 'worker-1',
      'machinery.task.attempt': 1,
      'machinery.task.retries_left': 2,
    });
    for (const span of [send, process]) expect(span.status.code).toBe(SpanStatusCode.UNSET);
  });

  it('goes on with the trace of who sends it, and what its handler does and sends is below its span', async () => {
    const { sdk, server } = memoryServer();
    await startWorker(server);
    server.registerTask('order', async () => {
      sdk.tracer.startSpan('SELECT').end();
      await new Promise((resolve) => setTimeout(resolve, 1));
      await (await server.send(log('x'))).get();
    });
    await sdk.tracer.startActiveSpan('GET /', async (span) => {
      await (await server.send({ name: 'order' })).get();
      span.end();
    });
    await server.close();
    expect(sdk.tree()).toBe(
      'GET /\n  send order\n    process order\n      SELECT\n      send log\n        process log',
    );
  });

  it('that fails is an error, and its error callback is below its span', async () => {
    const { sdk, server } = memoryServer();
    await startWorker(server);
    await server.send(fail('oops'), { onError: [log.partial().with({ uuid: 'told' })] });
    await server.result('told').get();
    await server.close();
    expect(sdk.tree()).toBe('send fail\n  process fail\n    send log\n      process log');
    const span = sdk.span('process fail');
    expect(span.status).toEqual({ code: SpanStatusCode.ERROR, message: 'oops' });
    expect(span.attributes['error.type']).toBe('TypeError');
    expect(span.events).toMatchObject([{ name: 'exception', attributes: { 'exception.message': 'oops' } }]);
  });

  it('that is tried again is a span for each attempt, which say how many are left', async () => {
    const { sdk, server } = memoryServer();
    await startWorker(server);
    const result = await server.send(fail('oops'), { retries: 2, backoff: { delayMs: 0 } });
    await result.get().catch(() => {});
    await server.close();
    expect(sdk.tree()).toBe('send fail\n  process fail\n  process fail\n  process fail');
    const attempts = sdk.spans.filter(({ name }) => name === 'process fail').map(({ attributes }) => attributes);
    expect(attempts.map((of) => of['machinery.task.attempt'])).toEqual([1, 2, 3]);
    expect(attempts.map((of) => of['machinery.task.retries_left'])).toEqual([2, 1, 0]);
    expect(attempts.map((of) => of['machinery.task.eta'] !== undefined)).toEqual([false, true, true]);
  });

  it('that asks to run again later has not failed', async () => {
    const { sdk, server } = memoryServer();
    let runs = 0;
    server.registerTask('poll', () => {
      if (++runs === 1) throw new RetryLater(0);
    });
    await server.newWorker('worker-1').start();
    await (await server.send({ name: 'poll' })).get();
    await server.close();
    const [first] = sdk.spans.filter(({ name }) => name === 'process poll');
    expect(first?.status.code).toBe(SpanStatusCode.UNSET);
    expect(first?.events).toMatchObject([{ name: 'machinery.retry_later' }]);
  });

  it('that came from Go, without a context, begins a trace', async () => {
    const { sdk, server, broker } = memoryServer();
    await startWorker(server);
    const signature = { name: 'log', uuid: 'from_go', routingKey: 'q', args: [{ type: 'string', value: 'x' }] };
    const body = JSON.stringify({
      UUID: 'from_go',
      Name: 'log',
      Args: [{ Type: 'string', Value: 'x' }],
      Headers: null,
    });
    await broker.publish([{ body, routingKey: 'q', signature }]);
    await server.result('from_go').get();
    await server.close();
    expect(sdk.tree()).toBe('process log');
  });

  it('that cannot be sent is an error', async () => {
    const { sdk, server, broker } = memoryServer();
    await broker.close();
    await expect(server.send(add(1))).rejects.toThrow();
    const { status, attributes } = sdk.span('send add');
    expect(status.code).toBe(SpanStatusCode.ERROR);
    expect(attributes['error.type']).toBe('ERR_MACHINERY_CLOSED');
  });
});

describe('a workflow', () => {
  it('is one span, and a chord calls back below the member that completed it', async () => {
    const { sdk, server } = memoryServer();
    await startWorker(server);
    expect(await (await server.send(chord([add(1), add(2)], add.partial(3)))).get()).toBe(6);
    await server.close();
    expect(sdk.traces).toBe(1);
    expect(sdk.tree()).toMatch(
      /^send chord\n {2}process add\n(?: {2}process add\n)? {4}send add\n {6}process add(?:\n {2}process add)?$/,
    );
    expect(sdk.span('send chord').attributes).toMatchObject({
      'machinery.workflow.kind': 'chord',
      'messaging.batch.message_count': 2,
      'machinery.group.uuid': expect.stringMatching(/^group_/),
    });
  });

  it('that is a chain goes on from step to step', async () => {
    const { sdk, server } = memoryServer();
    await startWorker(server);
    await (await server.send(chain(add(1), add.partial(2), add.partial(3)))).get();
    await server.close();
    expect(sdk.tree()).toBe(
      'send chain\n  process add\n    send add\n      process add\n        send add\n          process add',
    );
  });

  it('whose member fails tells so below that member', async () => {
    const { sdk, server } = memoryServer();
    await startWorker(server);
    const callback = sum.partial([]).with({ onError: [log.partial().with({ uuid: 'told' })] });
    await server.send(chord([fail('oops')], callback));
    await server.result('told').get();
    await server.close();
    expect(sdk.traces).toBe(1);
    expect(sdk.tree()).toContain('process log');
  });

  it('that is a group is one span above all members', async () => {
    const { sdk, server } = memoryServer();
    await startWorker(server);
    await (await server.send(group([add(1), add(2)]))).get();
    await server.close();
    expect(sdk.tree()).toBe('send group\n  process add\n  process add');
  });
});

describe('periodic work', () => {
  it('is a trace for each tick, linked to the one before and to who registered it', async () => {
    const { sdk, server } = memoryServer({ lock: new EagerLock() });
    await startWorker(server);
    sdk.tracer.startActiveSpan('startup', (span) => {
      server.registerPeriodicTask('@every 1s', 'beat', log('x'));
      span.end();
    });
    await expect.poll(() => sdk.spans.filter(({ name }) => name === 'process log').length, { timeout: 5_000 }).toBe(2);
    await server.close();
    const ticks = sdk.spans.filter(({ name }) => name === 'send log');
    const [startup, first, second] = [sdk.span('startup'), ...ticks].map((span) => span.spanContext());
    expect(new Set([startup, first, second].map((of) => of?.traceId)).size).toBe(3);
    expect(ticks.map(({ links }) => links.map((link) => link.context.spanId))).toEqual([
      [startup?.spanId],
      [startup?.spanId, first?.spanId],
    ]);
    expect(ticks[0]?.attributes['machinery.periodic.entry']).toBe('beat');
    const process = sdk.spans.filter(({ name }) => name === 'process log');
    expect(process.map((span) => span.parentSpanContext?.spanId)).toEqual([first?.spanId, second?.spanId]);
  });

  it('of tasks that send themselves again begins traces where it is told to', async () => {
    const sdk = new Sdk();
    const { server } = memoryServer({ telemetry: sdk.telemetry({ startsTrace: ({ name }) => name === 'again' }) });
    let runs = 0;
    server.registerTask('again', async () => {
      if (++runs < 3) await server.send({ name: 'again', uuid: `run_${runs + 1}` });
    });
    await server.newWorker('worker-1').start();
    await server.send({ name: 'again' });
    await expect.poll(() => sdk.spans.filter(({ name }) => name === 'process again').length).toBe(3);
    await server.close();
    const lines = ['process again', 'process again', 'process again', 'send again', '  send again', '  send again'];
    expect(sdk.tree().split('\n').toSorted()).toEqual(lines.toSorted());
    const sends = sdk.spans.filter(({ name }) => name === 'send again').map((span) => span.spanContext().spanId);
    const links = sdk.spans.flatMap((span) => span.links).map((link) => link.context.spanId);
    expect(links.toSorted()).toEqual(sends.toSorted());
  });
});

describe('the context', () => {
  it('is W3C text in the headers, of callbacks, too', async () => {
    const { server, broker } = memoryServer();
    await server.send(chain(add(1), add.partial(2)));
    const { Headers, OnSuccess } = JSON.parse((await broker.pendingMessages('q', 1))[0] as string);
    expect(Headers.traceparent).toMatch(/^00-[\da-f]{32}-[\da-f]{16}-01$/);
    expect(OnSuccess[0].Headers).toEqual({ traceparent: Headers.traceparent });
  });

  it.each([
    [new B3Propagator(), 'b3'],
    [new B3Propagator({ injectEncoding: B3InjectEncoding.MULTI_HEADER }), 'x-b3-traceid'],
  ])('is B3 where that is the propagator', async (propagator, header) => {
    const { sdk, server, broker } = memoryServer({ propagator });
    await server.send(add(1));
    const { Headers } = JSON.parse((await broker.pendingMessages('q', 1))[0] as string);
    expect(Object.keys(Headers)).toContain(header);
    expect(Headers).not.toHaveProperty('traceparent');
    await startWorker(server);
    await expect.poll(() => sdk.tree()).toBe('send add\n  process add');
  });

  it('is that of the sender, and not the one in which the worker was started', async () => {
    const { sdk, server } = memoryServer();
    await sdk.tracer.startActiveSpan('startup', async (span) => {
      await startWorker(server);
      span.end();
    });
    await context.with(ROOT_CONTEXT, async () => (await server.send(add(1))).get());
    await server.close();
    expect(sdk.tree()).toBe('send add\n  process add\nstartup');
    expect(trace.getActiveSpan()).toBeUndefined();
  });

  it('that cannot be written or read fails no task', async () => {
    const broken = () => {
      throw new Error('no context');
    };
    const { sdk, server } = memoryServer({ propagator: { inject: broken, extract: broken, fields: () => [] } });
    await startWorker(server);
    expect(await (await server.send(chain(add(1), add.partial(2)))).get()).toBe(3);
    await server.close();
    expect(sdk.tree()).toContain('send chain');
  });
});
