// The states of a chord's members, taken by whoever completes it: all of them or none, by one of all that ask, and never lost.

import assert from 'node:assert/strict';
import type { Backend, GroupMeta, StateGroup, TakenGroup, TaskState } from '@machinery/core';
import { within } from '../runner.ts';
import type { BackendSuite } from './backend-under-test.ts';
import {
  assertSameState,
  assertStored,
  expectStored,
  groupOf,
  int64,
  longSeconds,
  newGroupUuid,
  newTaskUuids,
  stateOf,
} from './sample-states.ts';

const rounds = 10;

interface Members {
  readonly group: StateGroup;
  readonly meta: GroupMeta;
  /** The final states, in the group's order. */
  readonly states: readonly TaskState[];
}

/** A group that is begun, and how its members will end. */
async function start(backend: Backend, size: number): Promise<Members> {
  const meta = groupOf(newTaskUuids(size));
  const states = meta.taskUuids.map((taskUuid, i) => stateOf('SUCCESS', { taskUuid, results: [int64(i)] }));
  await backend.initGroup(meta, longSeconds);
  return { meta, states, group: { uuid: meta.groupUuid, taskCount: size } };
}

async function end(backend: Backend, group: StateGroup, states: readonly TaskState[]): Promise<void> {
  const outcomes = await backend.write(states.map((state) => ({ state, expiresInSeconds: longSeconds, group })));
  outcomes.forEach((outcome, i) => void assertStored(outcome, states[i] as TaskState));
}

function take(backend: Backend, group: StateGroup, again = false): Promise<TakenGroup | undefined> {
  assert.ok(backend.takeGroup, 'Expected a method takeGroup');
  return backend.takeGroup(group, again);
}

function assertTaken(
  taken: TakenGroup | undefined,
  states: readonly TaskState[],
  inOrder = true,
): asserts taken is TakenGroup {
  assert.ok(taken, 'Expected the states of all members');
  assert.equal(taken.inOrder, inOrder);
  assert.equal(taken.states.length, states.length);
  states.forEach((state, i) => void assertSameState(taken.states[i], state));
}

export function testTakingGroups(suite: BackendSuite): void {
  suite.describe('the states of a group', () => {
    suite.it("are taken in the group's order, whoever wrote them when, and are still read one by one", async (open) => {
      const [a, b, c] = [await open(), await open(), await open()];
      const { group, states } = await start(a, 5);
      const failed = stateOf('FAILURE', { taskUuid: states[1]?.taskUuid as string });
      const all = states.with(1, failed);
      await end(b, group, [all[4], all[1]] as TaskState[]);
      await end(a, group, [all[0], all[3], all[2]] as TaskState[]);
      assertTaken(await take(c, group), all);
      await expectStored(b, all);
    });

    suite.it('are taken when all have ended, and not before', async (open) => {
      const [a, b] = [await open(), await open()];
      const { group, states } = await start(a, 3);
      for (const state of states) {
        assert.equal(await take(b, group), undefined);
        assert.equal(await take(b, group, true), undefined);
        await end(a, group, [state]);
      }
      assertTaken(await take(b, group), states);
    });

    suite.it('are counted by what is written with the group only', async (open) => {
      const backend = await open();
      const { group, states } = await start(backend, 2);
      await end(backend, group, states.slice(1));
      await backend.write(states.map((state) => ({ state, expiresInSeconds: longSeconds })));
      assert.equal(await take(backend, group), undefined);
    });

    suite.it(
      `are given to one of ten that ask at once, ${rounds} times, and to the next when they are back`,
      async (open) => {
        const backends = await Promise.all(Array.from({ length: 5 }, open));
        const [a] = backends as [Backend];
        for (let round = 0; round < rounds; round++) {
          const { group, states } = await start(a, 7);
          await end(a, group, states);
          const all = await Promise.all([...backends, ...backends].map((backend) => take(backend, group)));
          const [taken, ...more] = all.filter((one) => one !== undefined);
          assert.equal(more.length, 0, `Expected one to have them, got ${more.length + 1}`);
          assertTaken(taken, states);
          for (const backend of backends) assert.equal(await take(backend, group), undefined);
          await taken.release();
          await taken.release();
          assertTaken(await soon(suite, () => take(backends[round % 5] as Backend, group)), states);
        }
      },
    );

    suite.it(`are given to one of those who look after their own state, ${rounds} times`, async (open) => {
      const backends = await Promise.all(Array.from({ length: 4 }, open));
      for (let round = 0; round < rounds; round++) {
        const { group, states } = await start(backends[0] as Backend, 12);
        const looks = states.map(async (state, i) => {
          const backend = backends[i % backends.length] as Backend;
          await end(backend, group, [state]);
          return take(backend, group);
        });
        const taken = (await Promise.all(looks)).filter((one) => one !== undefined);
        assert.equal(taken.length, 1, `Expected one look to get them, got ${taken.length}`);
        assertTaken(taken[0], states);
        await (backends[0] as Backend).finishChord(group.uuid);
      }
    });

    suite.it('come back when the instance that has them is closed', async (open) => {
      const [a, b] = [await open(), await open()];
      const { group, states } = await start(a, 3);
      await end(a, group, states);
      assertTaken(await take(a, group), states);
      assert.equal(await take(b, group), undefined);
      await a.close();
      assertTaken(await soon(suite, () => take(b, group)), states);
    });

    suite.it('are not given to anybody when the chord is finished, also to whoever ends once more', async (open) => {
      const [a, b] = [await open(), await open()];
      for (const size of [1, 3]) {
        const { group, states } = await start(a, size);
        await end(a, group, states);
        const taken = await take(a, group);
        assertTaken(taken, states);
        await b.finishChord(group.uuid);
        await taken.release();
        assert.equal(await take(b, group, true), undefined);
        await end(b, group, states.slice(0, 1));
        assert.equal(await take(b, group, true), undefined);
      }
    });

    suite.it('have one of each member that ended twice, the last one, and wait for the others', async (open) => {
      const [a, b] = [await open(), await open()];
      const { group, states } = await start(a, 3);
      const failed = stateOf('FAILURE', { taskUuid: states[0]?.taskUuid as string });
      await end(a, group, [failed]);
      await end(b, group, states.slice(0, 1));
      assert.equal(await take(b, group, true), undefined);
      await end(a, group, states.slice(1, 2));
      await end(b, group, states.slice(1, 2));
      assert.equal(await take(a, group), undefined);
      assert.equal(await take(b, group, true), undefined);
      await end(a, group, states.slice(2));
      assertTaken(await take(a, group), states);
    });

    suite.it('are given to one, though others look for doubles at the same time', async (open) => {
      const backends = await Promise.all(Array.from({ length: 4 }, open));
      for (let round = 0; round < rounds / 4; round++) {
        const { group, states } = await start(backends[0] as Backend, 6);
        const looks = states.map(async (state, i) => {
          const backend = backends[i % backends.length] as Backend;
          const again = i % 2 === 0;
          if (again) await end(backends[(i + 1) % backends.length] as Backend, group, [state]);
          await end(backend, group, [state]);
          return take(backend, group, again);
        });
        const taken = (await Promise.all(looks)).filter((one) => one !== undefined);
        assert.equal(taken.length, 1, `Expected one look to get them, got ${taken.length}`);
        assertTaken(taken[0], states);
      }
    });

    suite.it('are in any order where the group has no meta, and are decided likewise', async (open) => {
      const [a, b] = [await open(), await open()];
      const states = newTaskUuids(3).map((taskUuid) => stateOf('SUCCESS', { taskUuid }));
      const group = { uuid: newGroupUuid(), taskCount: 3 };
      for (const state of states) await end(a, group, [state]);
      const taken = await take(b, group);
      assert.equal(taken?.inOrder, false);
      const uuids = (some: readonly TaskState[] = []) => some.map(({ taskUuid }) => taskUuid).toSorted();
      assert.deepEqual(uuids(taken.states), uuids(states));
      await b.finishChord(group.uuid);
      await end(a, group, states);
      assert.equal(await take(a, group), undefined);
    });

    suite.it('are forgotten when the group begins anew or is purged', async (open) => {
      const [a, b] = [await open(), await open()];
      const { group, meta, states } = await start(a, 2);
      for (const over of [async () => {}, () => b.finishChord(group.uuid), () => a.purge({ groups: [group.uuid] })]) {
        await end(a, group, states.slice(1));
        await over();
        await b.initGroup(meta, longSeconds);
        await end(a, group, states.slice(0, 1));
        assert.equal(await take(a, group), undefined);
        await end(b, group, states.slice(1));
        const taken = await take(b, group);
        assertTaken(taken, states);
        await taken.release();
      }
    });

    suite.it('of a thousand members are taken by one', async (open) => {
      const [a, b] = [await open(), await open()];
      const { group, states } = await start(a, Math.min(1_000, suite.declares.maxGroupSize ?? 1_000));
      for (let i = 0; i < states.length; i += suite.batch) await end(a, group, states.slice(i, i + suite.batch));
      assertTaken(await take(b, group), states);
    });
  });
}

/** What was given back may take a moment to be there again. */
function soon<T>(suite: BackendSuite, ask: () => Promise<T | undefined>): Promise<T> {
  const asking = async (): Promise<T> => {
    for (;;) {
      const answer = await ask();
      if (answer !== undefined) return answer;
    }
  };
  return within(suite.patienceMs, 'the states to be there again', asking());
}
