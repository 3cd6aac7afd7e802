// Options survive copying a signature, and an option that is undefined is none.

import { describe, expect, it } from 'vitest';
import { defineTask } from '../../src/task.ts';
import { int64 } from '../../src/task-types.ts';
import { onlyMessage, testServer } from './setup.ts';

const add = defineTask('add', { args: [int64], returns: int64 });

describe('delayMs', () => {
  it('is kept by a copy of the signature', async () => {
    const test = testServer();
    await test.server.send({ ...add(1).with({ delayMs: 60_000 }) });
    expect(await test.server.pendingTasks()).toEqual([]);
    expect(await test.server.delayedTasks()).toHaveLength(1);
  });

  it('is kept by further options, and replaced by an ETA', async () => {
    const test = testServer();
    const delayed = add(1).with({ delayMs: 60_000 });
    await test.server.send(delayed.with({ retries: 1 }));
    expect(await test.server.delayedTasks()).toHaveLength(1);
    await test.server.send(delayed, { eta: new Date(0) });
    expect(await test.server.pendingTasks()).toHaveLength(1);
  });
});

it('an option that is undefined leaves what the signature has', async () => {
  const test = testServer();
  const signature = add(1).with({ uuid: 'task_u', priority: 3, onError: [{ name: 'sorry' }], retries: 2 });
  const nothing = { uuid: undefined, priority: undefined, onError: undefined, retries: undefined, headers: undefined };
  await test.server.send(signature, nothing as never);
  const message = await onlyMessage(test);
  expect(message).toMatchObject({ UUID: 'task_u', Priority: 3, RetryCount: 2, OnError: [{ Name: 'sorry' }] });
});
