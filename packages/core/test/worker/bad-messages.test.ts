// Messages that no worker can use, tasks that this worker does not have, and arguments that do not fit.

import { beforeEach, describe, expect, it } from 'vitest';
import type { Settlement } from '../../src/broker.ts';
import { maxCallbackDepth, type Signature } from '../../src/signature.ts';
import { defineTask } from '../../src/task.ts';
import { int8, int64, rest, string } from '../../src/task-types.ts';
import { goMessage, ourMessage } from './messages.ts';
import { type TestServer, testServer } from './test-server.ts';

let test: TestServer;
beforeEach(() => {
  test = testServer();
  test.server.registerTask('fine', () => 'fine');
});

const isFine = async () => (await (await test.server.send({ name: 'fine' })).get()) === 'fine';

/** A signature whose callbacks nest deeper than is allowed. */
function tooDeep(): string {
  const depth = maxCallbackDepth + 1;
  return `${'{"Name":"fine","OnSuccess":['.repeat(depth)}{"Name":"fine"}${']}'.repeat(depth)}`;
}

describe('a message that is no signature', () => {
  it.each([
    ['nothing', ''],
    ['no JSON', 'not json'],
    ['binary', '\u0000\uFFFD\u0001'],
    ['a number', '5'],
    ['null', 'null'],
    ['an array', '[]'],
    ['an object without name', '{}'],
    ['an empty name', '{"Name":""}'],
    ['a name that is no text', '{"Name":5}'],
    ['arguments that are no array', '{"Name":"fine","Args":"x"}'],
    ['a time that is none', '{"Name":"fine","ETA":"soon"}'],
    ['a wrong retry count', '{"Name":"fine","RetryCount":1.5}'],
    ['callbacks that are too deep', tooDeep()],
    ['a lone bracket a million times', '['.repeat(1_000_000)],
  ])('goes to the dead messages with the reason: %s', async (_, body) => {
    const errors: unknown[] = [];
    await test.startWorker({ errorHandler: (error) => errors.push(error) });
    await test.broker.put(body);
    await test.broker.settled.first(({ kind }) => kind === 'dead');
    expect(test.broker.memory.deadMessages('q')).toMatchObject([{ body, reason: expect.stringMatching(/./) }]);
    expect(errors).toHaveLength(1);
    expect(test.logger.texts('error')).toHaveLength(1);
    expect(await isFine()).toBe(true);
  });
});

describe('a task that this worker does not have', () => {
  const settlements = async (count: number): Promise<readonly Settlement[]> => {
    const requeues = (items: readonly Settlement[]) => items.filter(({ kind }) => kind === 'requeue');
    await test.broker.settled.until((items) => requeues(items).length >= count);
    return requeues(test.broker.settled.items);
  };

  it('goes back to the end of the queue at once, then after growing delays, with one warning', async () => {
    const worker = await test.startWorker();
    await test.server.send({ name: 'unknown', uuid: 'u' });
    await test.server.send({ name: 'unknown', uuid: 'v' });
    const found = (await settlements(6)).filter(({ delivery }) => delivery.body.includes('"u"'));
    expect(found.slice(0, 3)).toMatchObject([
      { position: 'back' },
      { position: 'back', delayMs: 100 },
      { position: 'back', delayMs: 200 },
    ]);
    expect(found[0]).not.toHaveProperty('delayMs');
    expect(test.logger.texts('warn')).toHaveLength(1);
    expect(await test.backend.state('u')).toMatchObject({ state: 'PENDING' });
    await worker.quit();
  });

  it('is delayed also when its message has no UUID', async () => {
    await test.startWorker();
    await test.broker.put('{"Name":"unknown"}');
    expect((await settlements(2))[1]).toMatchObject({ position: 'back', delayMs: 100 });
  });

  it('is run by another worker that has it', async () => {
    const other = testServer({ server: { broker: test.broker, backend: test.backend } });
    other.server.registerTask('theirs', () => 'theirs');
    await test.startWorker();
    await other.startWorker();
    const results = await Promise.all([1, 2, 3, 4].map(() => test.server.send({ name: 'theirs' })));
    expect(await Promise.all(results.map((result) => result.get()))).toEqual(Array(4).fill('theirs'));
  });

  it('lets other tasks pass', async () => {
    await test.startWorker({ concurrency: 1 });
    await test.server.send({ name: 'unknown' });
    expect(await isFine()).toBe(true);
  });

  it('is dropped, with a warning, when it asks for that', async () => {
    await test.startWorker();
    await test.server.send({ name: 'unknown', uuid: 'u', ignoreWhenTaskNotRegistered: true });
    await test.server.send({ name: 'unknown', uuid: 'v', ignoreWhenTaskNotRegistered: true });
    await test.broker.settled.until((items) => items.length === 2);
    expect(test.broker.settled.items.map(({ kind }) => kind)).toEqual(['ack', 'ack']);
    expect(test.logger.texts('warn')).toHaveLength(1);
  });
});

describe('arguments that do not fit', () => {
  const add = defineTask('add', { args: rest(int64), returns: int64 });
  const greet = defineTask('greet', { args: [string, int8], returns: string });
  let runs = 0;
  beforeEach(() => {
    runs = 0;
    test.server.handle(add, (_, ...terms) => {
      runs++;
      return terms.reduce((a, b) => a + b, 0);
    });
    test.server.handle(greet, (_, name, n) => {
      runs++;
      return name.repeat(n);
    });
  });

  it.each<[string, Signature, RegExp]>([
    [
      'a wrong type',
      { name: 'add', args: [{ type: 'string', value: 'x' }] },
      /was sent as string, the task takes int64/,
    ],
    ['a value that is not of its type', { name: 'add', args: [{ type: 'int64', value: 'x' }] }, /x is not int64/],
    ['a fraction', { name: 'add', args: [{ type: 'int64', value: 1.5 }] }, /1\.5/],
    [
      'a type that there is not',
      { name: 'add', args: [{ type: 'complex', value: 1 }] },
      /complex is not one of supported types/,
    ],
    ['too few', { name: 'greet', args: [{ type: 'string', value: 'x' }] }, /expected 2 argument\(s\), got 1/],
    [
      'too many',
      { name: 'greet', args: Array(3).fill({ type: 'string', value: 'x' }) },
      /expected 2 argument\(s\), got 3/,
    ],
    ['none', { name: 'greet' }, /expected 2 argument\(s\), got 0/],
    [
      'a value out of range',
      {
        name: 'greet',
        args: [
          { type: 'string', value: 'x' },
          { type: 'int64', value: 128 },
        ],
      },
      /128/,
    ],
    [
      'an undeclared type of a plain task',
      { name: 'fine', args: [{ type: 'complex', value: 1 }] },
      /complex is not one of supported types/,
    ],
  ])('are a FAILURE at once, without retry: %s', async (_, signature, why) => {
    await test.startWorker();
    const more = { uuid: 'bad', retryCount: 3, onError: [{ uuid: 'sorry', name: 'fine' }] };
    await test.broker.put(goMessage({ ...signature, ...more }));
    const { error } = await test.backend.final('bad');
    expect(error).toMatch(/^Reflect task args error: /);
    expect(error).toMatch(why);
    expect(runs).toBe(0);
    await test.broker.published.first(({ uuid }) => uuid === 'sorry');
    expect(test.backend.statesOf('bad')).toEqual(['FAILURE']);
  });

  it('are a FAILURE also of a message of ours', async () => {
    await test.startWorker();
    await test.broker.put(
      ourMessage({ name: 'add', uuid: 'bad', retryCount: 1, args: [{ type: 'bool', value: true }] }),
    );
    expect(await test.backend.final('bad')).toMatchObject({
      error: expect.stringContaining('Reflect task args error'),
    });
  });
});

describe('handlers of the worker that throw', () => {
  it.each(['preTaskHandler', 'postTaskHandler'] as const)('%s: it is logged and the task goes on', async (name) => {
    await test.startWorker({
      [name]: () => {
        throw new Error('of a handler');
      },
    });
    expect(await isFine()).toBe(true);
    expect(test.logger.texts('error').join()).toContain(`${name} failed for task fine`);
  });

  it('errorHandler: it is logged and the task is a FAILURE', async () => {
    test.server.registerTask('fails', () => Promise.reject(new Error('no')));
    await test.startWorker({
      errorHandler: () => {
        throw new Error('of a handler');
      },
    });
    await expect((await test.server.send({ name: 'fails' })).get()).rejects.toThrow('no');
    expect(test.logger.texts('error').join()).toContain('errorHandler');
  });

  it('preConsumeHandler: nothing is taken until it answers again', async () => {
    let asked = 0;
    await test.startWorker({
      preConsumeHandler: () => {
        if (++asked < 3) throw new Error('of a handler');
        return true;
      },
    });
    expect(await isFine()).toBe(true);
    expect(asked).toBeGreaterThanOrEqual(3);
    expect(test.logger.texts('error').join()).toContain('preConsumeHandler failed');
  });

  it('preConsumeHandler that says no is asked again', async () => {
    const answers = [false, false, true];
    let asked = 0;
    await test.startWorker({ preConsumeHandler: () => answers[asked++] ?? true });
    expect(await isFine()).toBe(true);
    expect(asked).toBeGreaterThanOrEqual(3);
  });
});
