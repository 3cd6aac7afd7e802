// Several workers write states of the same tasks at the same time, as they do when a worker was taken for dead: whatever
// the order, a final state is not lost, nor is what only one of the states knows.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Backend, isFinal, type TaskState } from '@machinery/core';
import type { BackendSuite } from './backend-under-test.ts';
import {
  assertSameState,
  describeOutcome,
  int64,
  newTaskUuids,
  readAll,
  stateOf,
  store,
  writesOf,
} from './sample-states.ts';

const tasks = 100;

export function testConcurrentWrites(suite: BackendSuite): void {
  /** As core does it: again, after a while, when the outcome may be better next time. */
  async function persist(backend: Backend, states: readonly TaskState[]): Promise<void> {
    const deadline = Date.now() + suite.patienceMs;
    let left = states;
    while (left.length > 0) {
      const batch = left.slice(0, suite.batch);
      const outcomes = await backend.write(writesOf(batch));
      assert.equal(outcomes.length, batch.length);
      const again = batch.filter((_, i) => {
        const outcome = outcomes[i];
        if (outcome?.status === 'failed' && !outcome.retryable) assert.fail(describeOutcome(outcome));
        return outcome?.status !== 'stored';
      });
      assert.ok(Date.now() < deadline || again.length === 0, `Expected all to be stored in ${suite.patienceMs} ms`);
      left = [...again, ...left.slice(suite.batch)];
      if (again.length > 0) await sleep(10);
    }
  }

  async function persistEach(backend: Backend, states: readonly TaskState[]): Promise<void> {
    await Promise.all(states.map((state) => persist(backend, [state])));
  }

  const expectEach = async (backend: Backend, expected: readonly TaskState[]): Promise<void> => {
    const read = await readAll(
      backend,
      expected.map(({ taskUuid }) => taskUuid),
    );
    expected.forEach((state, i) => void assertSameState(read[i], state));
  };

  suite.describe('several workers at once', () => {
    for (const how of ['one by one', 'in batches'] as const) {
      suite.it(`never lose a final state to RECEIVED, STARTED or RETRY of its send, ${how}`, async (open) => {
        const [a, b, c] = [await open(), await open(), await open()];
        const uuids = newTaskUuids(tasks);
        const write = how === 'one by one' ? persistEach : persist;
        await store(
          a,
          uuids.map((taskUuid) => stateOf('PENDING', { taskUuid })),
        );
        const final = uuids.map((taskUuid, i) =>
          i % 2 === 0 ? stateOf('SUCCESS', { taskUuid, results: [int64(i)] }) : stateOf('FAILURE', { taskUuid }),
        );
        const late = async (backend: Backend) => {
          for (const name of ['RECEIVED', 'STARTED', 'RETRY', 'STARTED'] as const) {
            await write(
              backend,
              uuids.map((taskUuid) => stateOf(name, { taskUuid })),
            );
          }
        };
        await Promise.all([late(b), late(c), sleep(1).then(() => write(a, final))]);
        await expectEach(b, final);
      });
    }

    suite.it('never lose a final state to states that do not know their name', async (open) => {
      const [a, b] = [await open(), await open()];
      const uuids = newTaskUuids(tasks);
      await store(
        a,
        uuids.map((taskUuid) => stateOf('PENDING', { taskUuid })),
      );
      const final = uuids.map((taskUuid) => stateOf('SUCCESS', { taskUuid }));
      await Promise.all([
        persistEach(
          b,
          uuids.map((taskUuid) => stateOf('STARTED', { taskUuid, taskName: '' })),
        ),
        persistEach(
          a,
          final.map((state) => ({ ...state, taskName: '' })),
        ),
      ]);
      await expectEach(b, final);
    });

    suite.it('lose neither name nor time of sending', async (open) => {
      const [a, b, c] = [await open(), await open(), await open()];
      const uuids = newTaskUuids(tasks);
      await store(
        a,
        uuids.map((taskUuid) => stateOf('PENDING', { taskUuid })),
      );
      await Promise.all(
        [a, b, c].map((backend) =>
          persistEach(
            backend,
            uuids.map((taskUuid) => ({ taskUuid, taskName: '', state: 'STARTED' as const })),
          ),
        ),
      );
      await expectEach(
        b,
        uuids.map((taskUuid) => stateOf('STARTED', { taskUuid })),
      );
    });

    suite.it('leave one of two final states, whole', async (open) => {
      const [a, b, reader] = [await open(), await open(), await open()];
      const uuids = newTaskUuids(tasks);
      const success = uuids.map((taskUuid) => stateOf('SUCCESS', { taskUuid }));
      const failure = uuids.map((taskUuid) => stateOf('FAILURE', { taskUuid }));
      await Promise.all([persistEach(a, success), persistEach(b, failure)]);
      const read = await readAll(reader, uuids);
      read.forEach((state, i) => {
        assert.ok(state && isFinal(state.state));
        assertSameState(state, (state.state === 'SUCCESS' ? success : failure)[i] as TaskState);
      });
    });
  });
}
