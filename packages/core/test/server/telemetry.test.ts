// Telemetry: what it is told, what it may add, and that it can break nothing.

import { describe, expect, it } from 'vitest';
import { defineTask, type Ended, int64, rest, type Signature, string, type Telemetry } from '../../src/index.ts';
import { sentAtOf } from '../../src/sent-at.ts';
import { onlyMessage, type TestServer, testServer } from './setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const fail = defineTask('fail', { args: [string] });

async function withWorker(telemetry: Telemetry): Promise<TestServer> {
  const test = testServer({ server: { telemetry } });
  test.server.handle(add, (_task, ...terms) => terms.length);
  test.server.handle(fail, (_task, text) => {
    throw new Error(text);
  });
  await test.startWorker();
  return test;
}

describe('injectHeaders', () => {
  it('adds headers to every message, and sees the signature', async () => {
    const seen: string[] = [];
    const injectHeaders = ({ name }: Signature) => {
      seen.push(name);
      return { traceparent: `of ${name}` };
    };
    const test = testServer({ server: { telemetry: { injectHeaders } } });
    await test.server.send(add(1), { headers: { mine: 'stays', traceparent: 'is replaced' } });
    expect((await onlyMessage(test)).Headers).toMatchObject({ mine: 'stays', traceparent: 'of add' });
    expect(seen).toEqual(['add']);
  });

  it('is asked for callbacks when they are sent', async () => {
    const seen: string[] = [];
    const test = await withWorker({ injectHeaders: ({ name }) => void seen.push(name) as undefined });
    const done = await test.server.send(add(1), { onSuccess: [add.partial().with({ uuid: 'task_next' })] });
    await test.backend.final('task_next');
    await done.get();
    expect(seen).toEqual(['add', 'add']);
  });

  it('that throws is logged, and the task is sent', async () => {
    const injectHeaders = () => {
      throw new Error('no tracer');
    };
    const test = testServer({ server: { telemetry: { injectHeaders } } });
    await test.server.send(add(1));
    expect((await onlyMessage(test)).Headers).toBeUndefined();
    expect(test.logger.texts('error')).toEqual(['Telemetry failed: no tracer']);
  });

  it('cannot change what says when the task was sent', async () => {
    const injectHeaders = () => ({ 'machinery-sent-at': 'nonsense' });
    const test = testServer({ server: { telemetry: { injectHeaders } } });
    const { uuid } = await test.server.send(add(1));
    expect((await onlyMessage(test)).Headers).toBeUndefined();
    expect((await test.backend.state(uuid))?.createdAt).toBe(sentAtOf({ uuid }));
    await test.server.send(add(1), { uuid: 'task_1', queue: 'given' });
    const { Headers } = await onlyMessage(test, 'given');
    expect(Headers['machinery-sent-at']).toBe((await test.backend.state('task_1'))?.createdAt);
  });
});

describe('record', () => {
  it('counts what was sent, how it ended, and how long it took', async () => {
    const records: unknown[][] = [];
    const test = await withWorker({ record: (...record) => void records.push(record) });
    await (await test.server.send(add(1), { queue: 'q' })).get();
    await test.server.close(); // the result is there before it is counted
    // In no promised order: a fast worker is done before the sender knows that its message is stored.
    expect(records.toSorted()).toEqual([
      ['task.duration', expect.any(Number), { task: 'add', queue: 'q' }],
      ['task.sent', 1, { task: 'add', queue: 'q' }],
      ['task.succeeded', 1, { task: 'add', queue: 'q' }],
    ]);
    expect(records.find(([metric]) => metric === 'task.duration')?.[1]).toBeGreaterThanOrEqual(0);
  });

  it('counts retries and failures', async () => {
    const metrics: string[] = [];
    const test = await withWorker({ record: (metric) => void metrics.push(metric) });
    const result = await test.server.send(fail('x'), { retries: 1, backoff: { delayMs: 0 } });
    await test.backend.final(result.uuid);
    await test.server.close();
    expect(metrics.filter((metric) => metric !== 'task.duration').toSorted()).toEqual([
      'task.failed',
      'task.retried',
      'task.sent',
      'task.sent',
    ]);
  });

  it('does not count what the broker refused as sent', async () => {
    const metrics: string[] = [];
    const test = testServer({ server: { telemetry: { record: (metric) => void metrics.push(metric) } } });
    test.broker.failPublishes(1);
    await test.server.send(add(1)).catch(() => {});
    expect(metrics).toEqual([]);
  });

  it('that throws is logged, and nothing else', async () => {
    const record = () => {
      throw new Error('no meter');
    };
    const test = await withWorker({ record });
    expect(await (await test.server.send(add(1))).get()).toBe(1);
    expect(new Set(test.logger.texts('error'))).toEqual(new Set(['Telemetry failed: no meter']));
  });
});

describe('runTask', () => {
  it('wraps each attempt, and is told how it ended', async () => {
    const seen: [string, Ended][] = [];
    const runTask: Telemetry['runTask'] = async ({ name }, run) => {
      seen.push([name, await run()]);
    };
    const test = await withWorker({ runTask });
    await (await test.server.send(add(1, 2))).get();
    await (await test.server.send(fail('oops'))).get().catch(() => {});
    await test.server.close();
    expect(seen).toEqual([
      ['add', { kind: 'success', results: [{ type: 'int64', value: 2 }] }],
      ['fail', { kind: 'failure', error: new Error('oops') }],
    ]);
  });

  it.each<[string, NonNullable<Telemetry['runTask']>]>([
    [
      'throws before',
      () => {
        throw new Error('no span');
      },
    ],
    [
      'rejects before',
      async () => {
        throw new Error('no span');
      },
    ],
    [
      'rejects after',
      async (_, run) => {
        await run();
        throw new Error('no span');
      },
    ],
  ])('that %s is logged, and the task runs once', async (_, runTask) => {
    const test = testServer({ server: { telemetry: { runTask } } });
    let runs = 0;
    test.server.registerTask('count', () => ++runs);
    await test.startWorker();
    expect(await (await test.server.send({ name: 'count' })).get()).toBe(1);
    expect(test.logger.texts('error')).toEqual(['Telemetry failed: no span']);
  });

  it.each<[string, NonNullable<Telemetry['runTask']>]>([
    ['never calls run', async () => {}],
    [
      'calls run twice',
      async (_, run) => {
        await run();
        await run();
      },
    ],
    ['does not wait for it', async (_, run) => void run()],
    ['answers no promise', (_, run) => void run() as never],
  ])('that %s runs the task once', async (_, runTask) => {
    const test = testServer({ server: { telemetry: { runTask } } });
    let runs = 0;
    test.server.registerTask('count', async () => ++runs);
    await test.startWorker();
    expect(await (await test.server.send({ name: 'count' })).get()).toBe(1);
    expect(test.logger.texts('error')).toEqual([]);
  });
});
