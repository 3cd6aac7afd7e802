// The whole of sending and running on the eager broker: `send` resolves after the task has ended.

import { expect, it, onTestFinished } from 'vitest';
import { defineTask, int64, rest, Server, string } from '../../src/index.ts';
import { EagerBroker, MemoryBackend } from '../../src/memory/index.ts';
import { errorLike, RecordingLogger, thrownBy } from './setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const double = defineTask('double', { args: [int64], returns: int64 });
const fail = defineTask('fail', { args: [string], returns: string });
const report = defineTask('report', { args: [string] });

async function eager() {
  const backend = new MemoryBackend();
  const logger = new RecordingLogger();
  const server = new Server({ broker: new EagerBroker(), backend, logger });
  onTestFinished(() => server.close());
  const ran: string[] = [];
  server.handle(add, (_task, ...terms) => {
    ran.push(`add ${terms}`);
    return terms.reduce((a, b) => a + b, 0);
  });
  server.handle(double, (_task, n) => {
    ran.push(`double ${n}`);
    return 2 * n;
  });
  server.handle(fail, (_task, text) => {
    ran.push(`fail ${text}`);
    throw new Error(text);
  });
  server.handle(report, (_task, text) => void ran.push(`report ${text}`));
  await server.newWorker('w', { concurrency: 1 }).start();
  return { server, backend, logger, ran };
}

it('send resolves after the task ran, and its result is there', async () => {
  const { server, ran } = await eager();
  const result = await server.send(add(1, 2));
  expect(ran).toEqual(['add 1,2']);
  expect(await result.touch()).toEqual({ done: true, value: 3 });
  expect(await result.get({ timeoutMs: 0 })).toBe(3);
});

it('callbacks run inside of the send, however deep', async () => {
  const { server, ran } = await eager();
  const chain = add.partial(10).with({ onSuccess: [double.partial().with({ onSuccess: [double.partial()] })] });
  await server.send(add(1, 2), { onSuccess: [chain] });
  expect(ran).toEqual(['add 1,2', 'add 10,3', 'double 13', 'double 26']);
});

it('the callbacks of a callback have results that can be asked for', async () => {
  const { server } = await eager();
  await server.send(add(1), { onSuccess: [double.partial().with({ uuid: 'task_double' })] });
  expect(await server.result('task_double', double).get({ timeoutMs: 0 })).toBe(2);
});

it('a failing task is no failure of the send: its result says so, and its error callbacks ran', async () => {
  const { server, ran } = await eager();
  const result = await server.send(fail('oops'), { onError: [report.partial()] });
  expect(ran).toEqual(['fail oops', 'report oops']);
  expect(await thrownBy(() => result.get({ timeoutMs: 0 }))).toMatchObject({ taskName: 'fail', error: 'oops' });
});

it('a failed task is tried again inside of the send', async () => {
  const { server, ran } = await eager();
  const result = await server.send(fail('oops'), { retries: 2 });
  expect(ran).toEqual(['fail oops', 'fail oops', 'fail oops']);
  expect(await result.state()).toMatchObject({ state: 'FAILURE', attempt: 3 });
});

it('an ETA is ignored', async () => {
  const { server } = await eager();
  const result = await server.send(add(1), { delayMs: 60_000 });
  expect(await result.get({ timeoutMs: 0 })).toBe(1);
});

it('a task may send others and wait for them, though the worker has one slot', async () => {
  const { server, ran } = await eager();
  server.registerTask('parent', async () => {
    const results = await Promise.all([server.send(add(1, 2)), server.send(double(4))]);
    return Promise.all(results.map((result) => result.get()));
  });
  expect(await (await server.send({ name: 'parent' })).get()).toEqual([3, 8]);
  expect(ran).toEqual(['add 1,2', 'double 4']);
});

it('an unknown task is a clear error', async () => {
  const { server } = await eager();
  const error = await thrownBy(() => server.send({ name: 'unknown', uuid: 'task_1' }));
  expect(error).toEqual(
    errorLike(
      'ERR_MACHINERY_BROKER_FAILED',
      'The worker gave task unknown (task_1) back without running it (it does not know the task, or it stops), and an eager broker has no queue to put it back',
    ),
  );
});

it('an unknown task that may be ignored is', async () => {
  const { server } = await eager();
  const result = await server.send({ name: 'unknown', ignoreWhenTaskNotRegistered: true });
  expect(await result.touch()).toEqual({ done: false });
});

it('a queue without a worker is a clear error', async () => {
  const { server } = await eager();
  const error = await thrownBy(() => server.send(add(1), { queue: 'nobody', uuid: 'task_1' }));
  expect(error).toEqual(
    errorLike('ERR_MACHINERY_BROKER_FAILED', /^Cannot run task add \(task_1\): no worker is started .* queue nobody,/),
  );
});

it('a callback whose task is unknown is a failure of its own, not of the send', async () => {
  const { server, logger } = await eager();
  const result = await server.send(add(1), { onSuccess: [{ name: 'unknown', uuid: 'task_callback' }] });
  expect(await result.get({ timeoutMs: 0 })).toBe(1);
  expect(await server.result('task_callback').state()).toMatchObject({ state: 'FAILURE' });
  expect(logger.texts('error')).toEqual([
    expect.stringMatching(/^Callback unknown \(task_callback\) can never be sent and is marked as failed: /),
  ]);
});

it('many sends at once run side by side', async () => {
  const { server } = await eager();
  let running = 0;
  let most = 0;
  server.registerTask('slow', async () => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
  });
  await Promise.all(Array.from({ length: 10 }, () => server.send({ name: 'slow' })));
  expect(most).toBe(10);
});
