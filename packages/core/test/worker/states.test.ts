// The states that a task goes through, and what it costs to write them.

import { beforeEach, describe, expect, it } from 'vitest';
import type { Signature } from '../../src/signature.ts';
import { type Gate, gate } from './journal.ts';
import { goMessage, goSentAt } from './messages.ts';
import { type TestServer, testServer } from './test-server.ts';

let test: TestServer;
let release: Gate;
beforeEach(() => {
  test = testServer();
  release = gate();
  test.server.registerTasks({
    quick: () => 1,
    slow: async () => {
      await release.opened;
      return 1;
    },
    fails: () => Promise.reject(new Error('no')),
  });
});

const states = (uuid: string) => test.backend.written.items.filter(({ taskUuid }) => taskUuid === uuid);
const headers = { 'machinery-backoff': '{"delayMs":1}' };

describe('the states of a task', () => {
  it('are PENDING and SUCCESS when it is short: two writes', async () => {
    await test.startWorker();
    await (await test.server.send({ name: 'quick', uuid: 't' })).get();
    expect(test.backend.statesOf('t')).toEqual(['PENDING', 'SUCCESS']);
    expect(test.backend.calls).toMatchObject({ write: 2 });
  });

  it('show STARTED while it runs for longer', async () => {
    await test.startWorker();
    await test.server.send({ name: 'slow', uuid: 't' });
    await test.backend.written.first(({ state }) => state === 'STARTED');
    release.open();
    await test.backend.final('t');
    expect(test.backend.statesOf('t')).toEqual(['PENDING', 'STARTED', 'SUCCESS']);
  });

  it('show RECEIVED while its preTaskHandler runs', async () => {
    await test.startWorker({ preTaskHandler: () => release.opened });
    await test.server.send({ name: 'quick', uuid: 't' });
    await test.backend.written.first(({ state }) => state === 'RECEIVED');
    release.open();
    await test.backend.final('t');
    expect(test.backend.statesOf('t')).toEqual(['PENDING', 'RECEIVED', 'SUCCESS']);
  });

  it('end with the results, without them when there are none', async () => {
    test.server.registerTask('nothing', () => {});
    await test.startWorker();
    await test.server.send({ name: 'nothing', uuid: 't' });
    expect(await test.backend.final('t')).toMatchObject({ state: 'SUCCESS', results: [] });
  });

  it('are written together for tasks that end together', async () => {
    const results = await Promise.all(Array.from({ length: 100 }, () => test.server.send({ name: 'quick' })));
    const { write } = test.backend.calls;
    await test.startWorker({ concurrency: 100 });
    await Promise.all(results.map((result) => result.get()));
    expect(test.backend.calls.write - write).toBeLessThan(10);
  });

  it('cost no read in a run without redeliveries', async () => {
    await test.startWorker();
    await test.server.send({ name: 'quick', uuid: 't' });
    await test.backend.final('t');
    expect(test.backend.calls.read).toBe(0);
  });

  it('never come after the final one', async () => {
    const write = gate();
    const asked = gate();
    test.backend.onWrite = async (writes, next) => {
      if (!writes.some(({ state }) => state.state === 'STARTED')) return next();
      asked.open();
      await write.opened;
      return next();
    };
    await test.startWorker();
    await test.server.send({ name: 'slow', uuid: 't' });
    await asked.opened;
    release.open();
    write.open();
    await test.backend.final('t');
    expect(test.backend.statesOf('t')).toEqual(['PENDING', 'STARTED', 'SUCCESS']);
  });
});

describe('CreatedAt and TaskName', () => {
  const all = async (send: (signature: Signature) => Promise<unknown>, createdAt?: string) => {
    await test.startWorker();
    await send({ name: 'slow', uuid: 't' });
    await test.backend.written.first(({ state }) => state === 'STARTED');
    const started = await test.backend.state('t');
    release.open();
    await test.backend.final('t');
    await send({ name: 'fails', uuid: 'f', retryCount: 1, headers });
    await test.backend.final('f');
    for (const state of [started, await test.backend.state('t')])
      expect(state).toMatchObject({ taskName: 'slow', createdAt: createdAt ?? states('t')[0]?.createdAt });
    expect(states('f').filter(({ state }) => state === 'RETRY' || state === 'FAILURE')).toHaveLength(2);
    for (const state of states('f').filter(({ state }) => state !== 'STARTED'))
      expect(state).toMatchObject({ taskName: 'fails', createdAt: createdAt ?? states('f')[0]?.createdAt });
  };

  it('are those of the send in every state', () => all((signature) => test.server.send(signature)));

  it('are those that are stored, to the nanosecond, for messages of Go', () =>
    all(async (signature) => {
      const { uuid = '', name } = signature;
      await test.backend.put({ taskUuid: uuid, taskName: name, state: 'PENDING', createdAt: goSentAt });
      await test.broker.put(goMessage(signature));
    }, goSentAt));

  it('are absent and the name when nothing is stored for a message of Go', async () => {
    await test.startWorker();
    await test.broker.put(goMessage({ name: 'quick', uuid: 't' }));
    const state = await test.backend.final('t');
    expect(state).toMatchObject({ taskName: 'quick', state: 'SUCCESS' });
    expect(state).not.toHaveProperty('createdAt');
  });
});
