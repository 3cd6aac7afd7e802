// The push of final states. Watching may begin with a subscription that takes a moment, so a case first waits until a later
// watcher of the same instance was told something: what was asked for, or written, before has then arrived as well.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, TaskState } from '@machinery/core';
import { within } from '../runner.ts';
import type { BackendSuite } from './backend-under-test.ts';
import { assertSameState, int64, newTaskUuid, stateOf, store } from './sample-states.ts';

type Watch = NonNullable<Backend['watch']>;

export function testWatching(suite: BackendSuite): void {
  const { patienceMs } = suite;

  const watch = (backend: Backend, ...args: Parameters<Watch>): (() => void) => {
    assert.ok(backend.watch, 'Expected a method watch');
    return backend.watch(...args);
  };

  /** Resolves when a new watcher of `watching` was told of a state that `writer` wrote. */
  async function caughtUp(watching: Backend, writer: Backend): Promise<void> {
    const state = stateOf('SUCCESS');
    let told = false;
    let tell = () => {};
    const called = new Promise<void>((resolve) => {
      tell = resolve;
    });
    const stop = watch(watching, state.taskUuid, () => {
      told = true;
      tell();
    });
    try {
      const deadline = Date.now() + patienceMs;
      while (!told) {
        assert.ok(Date.now() < deadline, `Expected a watcher to be told of a final state within ${patienceMs} ms`);
        // Again and again: the subscription may not stand yet.
        await store(writer, [state]);
        await Promise.race([called, sleep(20)]);
      }
    } finally {
      stop();
    }
  }

  /** Collects what a watcher is told. */
  function listen(backend: Backend, taskUuid: string) {
    const calls: TaskState[] = [];
    let tell = () => {};
    const first = new Promise<void>((resolve) => {
      tell = resolve;
    });
    const stop = watch(backend, taskUuid, (state) => {
      calls.push(state);
      tell();
    });
    return { calls, stop, called: () => within(patienceMs, `the watcher of ${taskUuid} to be called`, first) };
  }

  suite.describe('watching', () => {
    for (const who of ['another instance', 'the same instance'] as const) {
      suite.it(`calls once, with the final state that ${who} writes, and with no other`, async (open) => {
        const watching = await open();
        const writer = who === 'another instance' ? await open() : watching;
        for (const name of ['SUCCESS', 'FAILURE'] as const) {
          const { taskUuid } = stateOf(name);
          const listener = listen(watching, taskUuid);
          await caughtUp(watching, writer);
          for (const early of ['PENDING', 'RECEIVED', 'STARTED', 'RETRY', 'STARTED'] as const) {
            await store(writer, [stateOf(early, { taskUuid })]);
          }
          await caughtUp(watching, writer);
          assert.deepEqual(listener.calls, [], 'Expected no call before the state is final');
          const results = [int64(2n ** 60n), { type: 'string', value: '☃ "\n\0' }, { type: '[]int64', value: [1, 2] }];
          const final = stateOf(name, { taskUuid, ...(name === 'SUCCESS' ? { results } : {}) });
          await store(writer, [final]);
          await listener.called();
          await store(writer, [final]);
          await store(writer, [stateOf('STARTED', { taskUuid })]);
          await store(writer, [stateOf(name === 'SUCCESS' ? 'FAILURE' : 'SUCCESS', { taskUuid })]);
          await caughtUp(watching, writer);
          assert.equal(listener.calls.length, 1, 'Expected one call');
          assertSameState(listener.calls[0], final);
        }
      });
    }

    suite.it('tells each of a batch, of several tasks', async (open) => {
      const [watching, writer] = [await open(), await open()];
      const states = Array.from({ length: Math.min(20, suite.batch) }, (_, i) =>
        stateOf('SUCCESS', { results: [int64(i)] }),
      );
      const listeners = states.map(({ taskUuid }) => listen(watching, taskUuid));
      await caughtUp(watching, writer);
      await store(writer, [...states, stateOf('SUCCESS'), stateOf('STARTED')].slice(0, Math.max(suite.batch, 20)));
      await Promise.all(listeners.map(({ called }) => called()));
      await caughtUp(watching, writer);
      listeners.forEach(({ calls }, i) => {
        assert.equal(calls.length, 1);
        assertSameState(calls[0], states[i] as TaskState);
      });
    });

    suite.it('tells the name and time of sending that are kept from before', async (open) => {
      const [watching, writer] = [await open(), await open()];
      const pending = stateOf('PENDING');
      const { taskUuid } = pending;
      const listener = listen(watching, taskUuid);
      await caughtUp(watching, writer);
      await store(writer, [pending]);
      await store(writer, [{ taskUuid, taskName: '', state: 'SUCCESS', results: [int64(7)] }]);
      await listener.called();
      assertSameState(listener.calls[0], stateOf('SUCCESS', { taskUuid }));
    });

    suite.it('tells every watcher of a task, in every instance, and each once', async (open) => {
      const [a, b, writer] = [await open(), await open(), await open()];
      const state = stateOf('SUCCESS');
      const listeners = [a, a, b, writer].map((backend) => listen(backend, state.taskUuid));
      for (const backend of [a, b, writer]) await caughtUp(backend, writer);
      await store(writer, [state]);
      await Promise.all(listeners.map(({ called }) => called()));
      for (const backend of [a, b, writer]) await caughtUp(backend, writer);
      for (const { calls } of listeners) assert.equal(calls.length, 1);
    });

    suite.it('ends for the watcher that stops, and for no other of the task', async (open) => {
      const [watching, writer] = [await open(), await open()];
      const calls: string[] = [];
      const state = stateOf('FAILURE');
      const same = () => void calls.push('same');
      const stop = watch(watching, state.taskUuid, same);
      const stopAnother = watch(watching, state.taskUuid, () => void calls.push('another'));
      watch(watching, state.taskUuid, same);
      const last = listen(watching, state.taskUuid);
      await caughtUp(watching, writer);
      for (let time = 0; time < 2; time++) {
        stop();
        stopAnother();
      }
      await store(writer, [state]);
      await last.called();
      await caughtUp(watching, writer);
      assert.deepEqual(calls, ['same']);
      // Safe after the call, too.
      last.stop();
    });

    suite.it('goes on for the others when the only watcher of a task stops at once', async (open) => {
      const [watching, writer] = [await open(), await open()];
      const state = stateOf('SUCCESS');
      const stopped = listen(watching, state.taskUuid);
      stopped.stop();
      const listener = listen(watching, state.taskUuid);
      await caughtUp(watching, writer);
      await store(writer, [state]);
      await listener.called();
      assert.deepEqual(stopped.calls, []);
    });

    suite.it('tells the others when a watcher throws, and the state is stored', async (open) => {
      const [watching, writer] = [await open(), await open()];
      const logged: string[] = [];
      const log = (text: string) => void logged.push(text);
      for (const backend of [watching, writer]) {
        backend.attach?.({ logger: { debug: log, info: log, warn: log, error: log } });
      }
      const state = stateOf('SUCCESS');
      const before = listen(watching, state.taskUuid);
      watch(watching, state.taskUuid, () => {
        throw new Error('a watcher that throws');
      });
      const after = listen(watching, state.taskUuid);
      await caughtUp(watching, writer);
      await store(writer, [state]);
      await Promise.all([before.called(), after.called()]);
      // It goes on for tasks that are watched later.
      await caughtUp(watching, writer);
    });

    suite.it('tells nothing of a final state from before, but of the next send of the task', async (open) => {
      const [watching, writer] = [await open(), await open()];
      const state = stateOf('SUCCESS');
      const { taskUuid } = state;
      await caughtUp(watching, writer);
      await store(writer, [state]);
      await caughtUp(watching, writer);
      const listener = listen(watching, taskUuid);
      await caughtUp(watching, writer);
      const createdAt = '2026-11-21T09:00:00Z';
      await store(writer, [stateOf('PENDING', { taskUuid, createdAt })]);
      await store(writer, [stateOf('STARTED', { taskUuid, createdAt })]);
      await caughtUp(watching, writer);
      assert.deepEqual(listener.calls, []);
      const next = stateOf('FAILURE', { taskUuid, createdAt });
      await store(writer, [next]);
      await listener.called();
      await caughtUp(watching, writer);
      assert.equal(listener.calls.length, 1);
      assertSameState(listener.calls[0], next);
    });

    suite.it('is told to a task of the UUID only, however many are watched', async (open) => {
      const [watching, writer] = [await open(), await open()];
      const listeners = Array.from({ length: 200 }, () => listen(watching, newTaskUuid()));
      const state = stateOf('SUCCESS');
      const listener = listen(watching, state.taskUuid);
      await caughtUp(watching, writer);
      await store(writer, [state]);
      await listener.called();
      await caughtUp(watching, writer);
      for (const { calls, stop } of listeners) {
        assert.deepEqual(calls, []);
        stop();
      }
    });
  });
}
