// `run`: one attempt of a task in the test's own process, through the wire and back.

import { setTimeout as wait } from 'node:timers/promises';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  bigInt64,
  bytes,
  chain,
  currentTask,
  defineTask,
  int64,
  json,
  RetryLater,
  rest,
  slice,
  string,
} from '../../src/index.ts';
import { type TestServer, testServer } from '../../src/testing/index.ts';
import { errorLike, thrownBy } from '../server/setup.ts';
import { watchProcess } from '../worker/process-events.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const greet = defineTask('greet', { args: [string], returns: string });
const fails = defineTask('fails', { retries: 3 });

let server: TestServer;
beforeEach(() => {
  server = testServer();
  onTestFinished(() => server.close());
});

describe('what it gives', () => {
  it('is what the handler returns', async () => {
    server.handle(add, (_task, ...terms) => terms.reduce((a, b) => a + b, 0));
    expect(await server.run(add(1, 2, 3))).toBe(6);
  });

  it('is a list for several results, and undefined for none', async () => {
    const divide = defineTask('divide', { args: [int64, int64], returns: [int64, int64] });
    const nothing = defineTask('nothing');
    server.handle(divide, async (_task, a, b) => [Math.trunc(a / b), a % b]);
    server.handle(nothing, () => {});
    expect(await server.run(divide(7, 2))).toEqual([3, 1]);
    expect(await server.run(nothing())).toBeUndefined();
  });

  it('of a plain function is what it returns, by the type of the value', async () => {
    server.registerTasks({ echo: (value) => value, none: () => {}, greet: (name) => `Hello ${name}` });
    expect(await server.run({ name: 'echo', args: [{ type: 'int64', value: 5 }] })).toBe(5);
    expect(await server.run({ name: 'greet', args: [{ type: 'string', value: 'you' }] })).toBe('Hello you');
    expect(await server.run({ name: 'none' })).toBeUndefined();
  });

  it('of a declared task is the same for a signature without types', async () => {
    const divide = defineTask('divide', { args: [int64, int64], returns: [int64, int64] });
    server.handle(divide, (_task, a, b) => [Math.trunc(a / b), a % b]);
    const args = [7, 2].map((value) => ({ type: 'int64', value }));
    expect(await server.run({ name: 'divide', args })).toEqual([3, 1]);
  });

  it('may be asked for many times at once', async () => {
    server.handle(greet, async (_task, name) => {
      await wait(1);
      return name;
    });
    const names = Array.from({ length: 50 }, (_, i) => `${i}`);
    expect(await Promise.all(names.map((name) => server.run(greet(name))))).toEqual(names);
  });
});

describe('what the handler gets', () => {
  it('has gone over the wire: a Date in JSON is a text, bytes and bigints are themselves', async () => {
    const got: unknown[] = [];
    const task = defineTask('task', {
      args: [json<{ at: unknown; left?: unknown }>(), bytes, bigInt64, slice(string)],
      returns: bigInt64,
    });
    server.handle(task, (_task, ...args) => {
      got.push(...args);
      return args[2] + 1n;
    });
    const given = { at: new Date('2027-01-01T00:00:00Z'), left: undefined };
    expect(await server.run(task(given, new Uint8Array([1, 255]), 2n ** 53n + 1n, ['a']))).toBe(2n ** 53n + 2n);
    expect(got).toEqual([{ at: '2027-01-01T00:00:00.000Z' }, expect.any(Uint8Array), 2n ** 53n + 1n, ['a']]);
    expect(got[0]).not.toHaveProperty('left');
    expect(Buffer.from(got[1] as Uint8Array)).toEqual(Buffer.from([1, 255]));
  });

  it('is a context as in a worker: attempt 1, its headers, a UUID, a signal', async () => {
    server.handle(greet, (task, name) => {
      expect(currentTask()).toBe(task);
      expect(task.attempt).toBe(1);
      expect(task.signal.aborted).toBe(false);
      expect(task.signature).toMatchObject({ name: 'greet', routingKey: 'machinery_tasks', headers: { tenant: 'a' } });
      expect(task.signature.uuid).toMatch(/^task_/);
      return name;
    });
    expect(await server.run(greet('you').with({ headers: { tenant: 'a' } }))).toBe('you');
  });

  it('comes at once, whatever the ETA and the queue', async () => {
    server.handle(greet, (_task, name) => name);
    expect(await server.run(greet('you').with({ delayMs: 3_600_000, queue: 'other' }))).toBe('you');
  });
});

describe('what it throws', () => {
  it('is the very error that the handler throws, however many retries there are', async () => {
    const error = new TypeError('no');
    let calls = 0;
    server.handle(fails, () => {
      calls++;
      throw error;
    });
    expect(await thrownBy(() => server.run(fails()))).toBe(error);
    expect(calls).toBe(1);
  });

  it.each([['a text'], [undefined], [null], [{ code: 5 }]])('is %o when that is thrown', async (thrown) => {
    server.handle(fails, async () => {
      throw thrown;
    });
    let caught: unknown = 'nothing';
    await server.run(fails()).catch((error) => {
      caught = error;
    });
    expect(caught).toBe(thrown);
  });

  it('is RetryLater, for the test to look at', async () => {
    server.handle(fails, () => {
      throw new RetryLater(5_000, 'not yet');
    });
    await expect(server.run(fails())).rejects.toBeInstanceOf(RetryLater);
    await expect(server.run(fails())).rejects.toMatchObject({ delayMs: 5_000, message: 'not yet' });
  });

  it("is a timeout after the task's timeoutMs, which fires its signal", async () => {
    let reason: unknown;
    const slow = defineTask('slow', { timeoutMs: 10 });
    server.handle(slow, (task) => {
      task.signal.addEventListener('abort', () => {
        reason = task.signal.reason;
      });
      return new Promise<void>(() => {});
    });
    const error = await thrownBy(() => server.run(slow()));
    expect(error).toEqual(errorLike('ERR_MACHINERY_TASK_TIMEOUT', 'Task slow took longer than 10 ms'));
    expect(reason).toBe(error);
  });

  it('is what the handler leaves rejected', async () => {
    const escaped = watchProcess();
    server.handle(fails, () => {
      void Promise.reject(new Error('stray'));
    });
    await expect(server.run(fails())).rejects.toThrow('stray');
    expect(escaped.items).toHaveLength(1); // a listener of the process sees it too, as with a worker
  });

  it('leaves no listeners on the process', async () => {
    const count = () => ['unhandledRejection', 'uncaughtException'].map((event) => process.listenerCount(event));
    const before = count();
    server.handle(fails, () => {
      throw new Error('no');
    });
    await thrownBy(() => server.run(fails()));
    expect(count()).toEqual(before);
  });

  it('names a task that is not registered, and those that are', async () => {
    server.handle(add, () => 0);
    server.handle(fails, () => {});
    expect(await thrownBy(() => server.run(greet('you')))).toEqual(
      errorLike('ERR_MACHINERY_TASK_NOT_REGISTERED', 'Task greet is not registered; registered are: add, fails'),
    );
  });

  it('says what does not fit: arguments of another type, and results', async () => {
    server.handle(add, () => 'x' as unknown as number);
    const args = [{ type: 'string', value: 'x' }];
    expect(await thrownBy(() => server.run({ name: 'add', args }))).toEqual(
      errorLike('ERR_MACHINERY_INVALID_ARGUMENT', /^Reflect task args error: /),
    );
    expect(await thrownBy(() => server.run(add(1)))).toEqual(
      errorLike('ERR_MACHINERY_INVALID_ARGUMENT', /^The result of task add: /),
    );
  });

  it.each<[string, (signature: never) => unknown]>([
    ['a workflow', () => chain(add(1), add.partial(2))],
    ['nothing', () => undefined],
    ['a text', () => 'add'],
    ['a task in place of its signature', () => add],
  ])('is what send throws for %s', async (_, make) => {
    server.handle(add, () => 0);
    const wrong = make(undefined as never) as never;
    const error = await thrownBy(() => server.run(wrong));
    expect(error).toMatchObject({ code: 'ERR_MACHINERY_INVALID_SIGNATURE' });
  });
});

describe('nothing else happens', () => {
  it('neither is anything stored, nor sent, nor logged, nor followed up', async () => {
    const logged: unknown[] = [];
    const log = (...line: unknown[]) => logged.push(line);
    server = testServer({ logger: { debug: log, info: log, warn: log, error: log } });
    server.handle(greet, (_task, name) => name);
    server.handle(fails, () => {
      throw new Error('no');
    });
    await server.run(greet('you').with({ uuid: 'task_g', onSuccess: [greet.partial()] }));
    await thrownBy(() => server.run(fails().with({ uuid: 'task_f', onError: [greet.partial()] })));
    expect(server.sent()).toEqual([]);
    expect(await server.backend.read(['task_g', 'task_f'])).toEqual([undefined, undefined]);
    expect(await server.drain()).toBe(0);
    expect(logged).toEqual([]);
  });

  it('what the task itself sends is in `sent`, and runs with the next drain', async () => {
    const welcomed: string[] = [];
    const signUp = defineTask('sign_up', { args: [string] });
    server.handle(signUp, async (_task, name) => {
      await server.send(greet(name), { delayMs: 60_000 });
    });
    server.handle(greet, (_task, name) => {
      welcomed.push(name);
      return name;
    });
    await server.run(signUp('you'));
    expect(server.sent().map(({ name, args }) => [name, args])).toEqual([['greet', ['you']]]);
    expect(welcomed).toEqual([]);
    expect(await server.drain()).toBe(1);
    expect(welcomed).toEqual(['you']);
  });
});

it('what prePublishHandler makes of a signature is what runs', async () => {
  await using changed = testServer({
    prePublishHandler: (signature) => ({ ...signature, args: [{ type: 'int64', value: 7 }] }),
  });
  changed.registerTask('echo', (value) => value);
  expect(await changed.run({ name: 'echo', args: [{ type: 'int64', value: 1 }] })).toBe(7);
});

it('after close it is refused', async () => {
  const closed = testServer();
  closed.registerTask('x', () => 1);
  await closed.close();
  await expect(closed.run({ name: 'x' })).rejects.toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
});
