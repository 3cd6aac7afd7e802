// Telemetry: what it is told, what it may add, and that it can break nothing.

import { describe, expect, it } from 'vitest';
import {
  chain,
  chord,
  defineTask,
  type Ended,
  group,
  int64,
  type MetricAttributes,
  type Receipt,
  rest,
  type Sending,
  type Signature,
  slice,
  string,
  type Telemetry,
} from '../../src/index.ts';
import { sentAtOf } from '../../src/sent-at.ts';
import { nextTurn, onlyMessage, type TestServer, testServer, type WireMessage } from './setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const fail = defineTask('fail', { args: [string] });
const sum = defineTask('sum', { args: [slice(int64)], returns: int64 });
const broker = 'FaultyBroker';

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
    expect(seen).toEqual(['add', 'add', 'add']); // the second time for the message of the first
  });

  it('adds headers to all callbacks, as Go sends them as they came; what members share is encoded once', async () => {
    const test = testServer({
      server: { telemetry: { injectHeaders: ({ name }) => ({ traceparent: `of ${name}` }) } },
    });
    const last = add.partial().with({ onError: [fail.partial()] });
    await test.server.send(chain(add(1), chord([add.partial(2), add.partial(3)], last)));
    const message = await onlyMessage(test);
    const [first, second] = message.OnSuccess as WireMessage[];
    expect(first).toMatchObject({ Headers: { traceparent: 'of add' } });
    expect(first?.ChordCallback).toMatchObject({
      Headers: { traceparent: 'of add' },
      OnError: [{ Headers: { traceparent: 'of fail' } }],
    });
    expect(second?.ChordCallback).toEqual(first?.ChordCallback);
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
      ['task.duration', expect.any(Number), { task: 'add', queue: 'q', broker }],
      ['task.received', 1, { task: 'add', queue: 'q', broker }],
      ['task.running', -1, { task: 'add', queue: 'q', broker }],
      ['task.running', 1, { task: 'add', queue: 'q', broker }],
      ['task.sent', 1, { task: 'add', queue: 'q', broker }],
      ['task.succeeded', 1, { task: 'add', queue: 'q', broker }],
      ['task.waited', expect.any(Number), { task: 'add', queue: 'q', broker }],
    ]);
    expect(records.find(([metric]) => metric === 'task.duration')?.[1]).toBeGreaterThanOrEqual(0);
  });

  it('counts retries and failures', async () => {
    const metrics: string[] = [];
    const test = await withWorker({ record: (metric) => void metrics.push(metric) });
    const result = await test.server.send(fail('x'), { retries: 1, backoff: { delayMs: 0 } });
    await test.backend.final(result.uuid);
    await test.server.close();
    const other = ['task.duration', 'task.waited', 'task.running', 'task.received'];
    expect(metrics.filter((metric) => !other.includes(metric)).toSorted()).toEqual([
      'task.failed',
      'task.retried',
      'task.sent',
      'task.sent',
    ]);
  });

  it('says how long a task waited since its ETA, and counts redeliveries and what was thrown', async () => {
    const records: [string, number, MetricAttributes][] = [];
    const test = testServer({ server: { telemetry: { record: (...record) => void records.push(record) } } });
    test.server.handle(fail, (_task, text) => {
      throw new Error(text);
    });
    const eta = new Date(Date.now() + 200);
    const { uuid } = await test.server.send(fail('oops'), { eta });
    const consumer = await test.broker.consume({ queue: 'q', tag: 'dies', slots: 1, maxInHand: 1 });
    await consumer.exchange([], 1, AbortSignal.timeout(5_000));
    await consumer.close(); // as a process that dies with its message
    await test.startWorker();
    await test.backend.final(uuid);
    await test.server.close();
    const of = (name: string) => records.filter(([metric]) => metric === name);
    expect(of('task.redelivered')).toHaveLength(1);
    expect(of('task.waited')[0]?.[1]).toBeLessThan(200);
    for (const metric of ['task.failed', 'task.duration'])
      expect(of(metric)[0]?.[2].error).toMatchObject({ message: 'oops' });
    expect(of('task.running').reduce((total, [, value]) => total + value, 0)).toBe(0);
  });

  it('counts down what runs when the worker is told to stop at once', async () => {
    let running = 0;
    const record: Telemetry['record'] = (metric, value) => {
      if (metric === 'task.running') running += value;
    };
    const test = testServer({ server: { telemetry: { record } } });
    let started = () => {};
    const hasStarted = new Promise<void>((resolve) => {
      started = resolve;
    });
    test.server.registerTask('hang', () => {
      started();
      return new Promise(() => {});
    });
    const worker = await test.startWorker();
    await test.server.send({ name: 'hang' });
    await hasStarted;
    expect(running).toBe(1);
    await worker.quit({ timeoutMs: 0 });
    await nextTurn();
    expect(running).toBe(0);
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

describe('runSend', () => {
  it('wraps what is published together, and is told what sets it off', async () => {
    const seen: Sending[] = [];
    const runSend: Telemetry['runSend'] = async (sending, run) => {
      seen.push(sending);
      expect(await run()).toBeUndefined();
    };
    const ran = new Map<string, Signature>();
    const runTask: Telemetry['runTask'] = async (signature, run) => {
      ran.set(signature.uuid as string, signature);
      await run();
    };
    const test = await withWorker({ runSend, runTask });
    test.server.handle(sum, (_task, terms) => terms.length);
    await (await test.server.send(add(1))).get();
    await (await test.server.send(group([add(1), add(2)]))).get();
    await (await test.server.send(chord([add(1), add(2)], add.partial()))).get();
    const failing = await test.server.send(fail('oops'), { onError: [{ name: 'add' }] });
    await failing.get().catch(() => {});
    await test.server.close();
    expect(seen).toMatchObject([
      { kind: 'task', signatures: [{ name: 'add', routingKey: 'q', uuid: expect.any(String) }], broker },
      { kind: 'group', signatures: [{ name: 'add' }, { name: 'add' }] },
      { kind: 'chord', signatures: [{ name: 'add' }, { name: 'add' }] },
      { kind: 'callbacks', signatures: [{ name: 'add', args: [{}, {}] }], after: { name: 'add' } },
      { kind: 'task', signatures: [{ name: 'fail' }] },
      { kind: 'callbacks', signatures: [{ name: 'add' }], after: { name: 'fail', uuid: failing.uuid } },
    ]);
    const offs = seen.flatMap(({ after }) => (after === undefined ? [] : [after]));
    expect(offs.map((after) => after === ran.get(after.uuid as string))).toEqual([true, true]);
  });

  it('has the headers injected inside of it', async () => {
    let inside = false;
    const telemetry: Telemetry = {
      async runSend(_, run) {
        inside = true;
        const done = run();
        inside = false;
        await done;
      },
      injectHeaders: () => ({ inside: String(inside) }),
    };
    const test = testServer({ server: { telemetry } });
    await test.server.send(add(1));
    expect((await onlyMessage(test)).Headers).toEqual({ inside: 'true' });
  });

  it('is answered why a send failed, which rejects all the same', async () => {
    const answers: unknown[] = [];
    const runSend: Telemetry['runSend'] = async (_, run) => void answers.push(await run());
    const test = testServer({ server: { telemetry: { runSend } } });
    test.broker.failPublishes(1);
    const error = await test.server.send(add(1)).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect(answers).toEqual([error]);
  });

  it.each<[string, NonNullable<Telemetry['runSend']>, string[]]>([
    [
      'throws',
      () => {
        throw new Error('no span');
      },
      ['Telemetry failed: no span'],
    ],
    [
      'rejects after',
      async (_, run) => {
        await run();
        throw new Error('no span');
      },
      ['Telemetry failed: no span'],
    ],
    ['never calls run', async () => {}, []],
    [
      'calls run twice',
      async (_, run) => {
        await run();
        await run();
      },
      [],
    ],
  ])('that %s sends once', async (_, runSend, logged) => {
    const test = testServer({ server: { telemetry: { runSend } } });
    await test.server.send(add(1));
    await onlyMessage(test);
    expect(test.logger.texts('error')).toEqual(logged);
  });
});

describe('runTask', () => {
  it('is told where the task came from', async () => {
    const receipts: Receipt[] = [];
    const runTask: Telemetry['runTask'] = async (_, run, receipt) => {
      receipts.push(receipt);
      await run();
    };
    const test = await withWorker({ runTask });
    await (await test.server.send(add(1))).get();
    expect(receipts).toEqual([{ queue: 'q', consumerTag: 'worker-1', attempt: 1, redelivered: false, broker }]);
  });

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
