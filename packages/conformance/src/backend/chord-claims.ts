// Who sends a chord's callback: one member, however many ask at once, and that one again after a crash.

import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import type { Backend, GroupMeta } from '@machinery/core';
import type { BackendSuite, Open } from './backend-under-test.ts';
import { assertSameGroup, groupOf, longSeconds, newGroupUuid, newTaskUuid, newTaskUuids } from './sample-states.ts';

const rounds = 10;

const openMany = (open: Open, count: number): Promise<Backend[]> =>
  Promise.all(Array.from({ length: count }, () => open()));

async function start(backend: Backend, size: number): Promise<GroupMeta> {
  const group = groupOf(newTaskUuids(size));
  await backend.initGroup(group, longSeconds);
  return group;
}

/** All members ask at once, each through one of the instances. */
const claimAll = (backends: readonly Backend[], groupUuid: string, members: readonly string[]) =>
  Promise.all(members.map((member, i) => (backends[i % backends.length] as Backend).claimChord(groupUuid, member)));

export function testChordClaims(suite: BackendSuite): void {
  const claimers = Math.min(50, suite.declares.maxGroupSize ?? 50);

  suite.describe('the claim of a chord', () => {
    suite.it(`is given to exactly one of ${claimers} members that ask at once, ${rounds} times`, async (open) => {
      const backends = await openMany(open, 5);
      for (let round = 0; round < rounds; round++) {
        const { groupUuid, taskUuids } = await start(backends[round % 5] as Backend, claimers);
        const claims = await claimAll(backends, groupUuid, taskUuids);
        assert.equal(claims.filter((claim) => claim === 'claimed').length, 1, `Claims of round ${round}: ${claims}`);
        assert.equal(claims.filter((claim) => claim === 'other').length, claimers - 1, `Claims: ${claims}`);
        const again = await claimAll(backends.toReversed(), groupUuid, taskUuids);
        assert.deepEqual(again, claims, 'Expected the same answers when all ask again');
      }
    });

    suite.it('is given again to the member that has it, through any instance, and to no other', async (open) => {
      const [a, b, c] = [await open(), await open(), await open()];
      const { groupUuid, taskUuids } = await start(a, 2);
      const [first = '', second = ''] = taskUuids;
      assert.equal(await b.claimChord(groupUuid, second), 'claimed');
      for (const backend of [a, b, c, c]) {
        assert.equal(await backend.claimChord(groupUuid, first), 'other');
        assert.equal(await backend.claimChord(groupUuid, second), 'claimed');
      }
    });

    suite.it('is given to one member for each of its calls, when several call several times at once', async (open) => {
      const backends = await openMany(open, 5);
      for (let round = 0; round < rounds; round++) {
        const { groupUuid, taskUuids } = await start(backends[0] as Backend, 7);
        const calls = Array.from({ length: 8 }, () => taskUuids).flat();
        const claims = await claimAll(backends, groupUuid, calls);
        const winners = new Set(calls.filter((_, i) => claims[i] === 'claimed'));
        assert.equal(winners.size, 1, `Expected one member to have it, got ${winners.size}`);
        const [winner] = winners;
        calls.forEach((member, i) => void assert.equal(claims[i], member === winner ? 'claimed' : 'other'));
      }
    });

    suite.it('is alive when the instance that took it is closed', async (open) => {
      const [a, b] = [await open(), await open()];
      const { groupUuid, taskUuids } = await start(a, 2);
      const [first = '', second = ''] = taskUuids;
      assert.equal(await a.claimChord(groupUuid, first), 'claimed');
      await a.close();
      assert.equal(await b.claimChord(groupUuid, second), 'other');
      assert.equal(await b.claimChord(groupUuid, first), 'claimed');
    });

    suite.it('leaves the group as it is', async (open) => {
      const [a, b] = [await open(), await open()];
      const group = await start(a, 3);
      await b.claimChord(group.groupUuid, group.taskUuids[1] as string);
      const read = await a.readGroup(group.groupUuid);
      assert.deepEqual(read?.taskUuids, group.taskUuids);
      assert.equal(read?.chordTriggered, false, 'Expected the flag to be written by finishChord only');
    });

    suite.it('is over for everybody once the chord is finished, for the member that had it, too', async (open) => {
      const backends = await openMany(open, 3);
      const [a, b] = backends as [Backend, Backend];
      const { groupUuid, taskUuids } = await start(a, 10);
      const claims = await claimAll(backends, groupUuid, taskUuids);
      assert.equal(claims.filter((claim) => claim === 'claimed').length, 1);
      for (let time = 0; time < 2; time++) {
        await b.finishChord(groupUuid);
        assert.deepEqual(new Set(await claimAll(backends, groupUuid, taskUuids)), new Set(['done']));
      }
      await Promise.all(backends.map((backend) => backend.finishChord(groupUuid)));
      assert.equal(await a.claimChord(groupUuid, newTaskUuid()), 'done');
    });

    suite.it('a finished chord has its flag, and is otherwise as it was', async (open) => {
      const [a, b] = [await open(), await open()];
      const group = await start(a, 3);
      await a.claimChord(group.groupUuid, group.taskUuids[0] as string);
      await a.finishChord(group.groupUuid);
      await a.finishChord(group.groupUuid);
      assertSameGroup(await b.readGroup(group.groupUuid), { ...group, chordTriggered: true });
    });

    suite.it('a chord can be finished that nobody has claimed', async (open) => {
      const [a, b] = [await open(), await open()];
      const { groupUuid, taskUuids } = await start(a, 2);
      await b.finishChord(groupUuid);
      assert.deepEqual(await claimAll([a, b], groupUuid, taskUuids), ['done', 'done']);
    });

    suite.it('nobody gets a group that a Go worker has decided already', async (open) => {
      const [a, b] = [await open(), await open()];
      const group = groupOf(newTaskUuids(2), { chordTriggered: true });
      await a.initGroup(group, longSeconds);
      assert.deepEqual(await claimAll([a, b], group.groupUuid, group.taskUuids), ['done', 'done']);
    });

    suite.it('is not given away while the chord is being finished', async (open) => {
      const backends = await openMany(open, 4);
      const [a, b] = backends as [Backend, Backend];
      for (let round = 0; round < rounds; round++) {
        const { groupUuid, taskUuids } = await start(a, 10);
        const [owner = '', ...others] = taskUuids;
        assert.equal(await a.claimChord(groupUuid, owner), 'claimed');
        let isFinished = false;
        const finish = async () => {
          await b.finishChord(groupUuid);
          isFinished = true;
        };
        const claim = async () => {
          // Without a pause and with one, so that a step in between is met in this process and on a server.
          for (let time = 0; !isFinished || time < 3; time++) {
            const claims = await claimAll(backends, groupUuid, others);
            assert.equal(claims.includes('claimed'), false, 'Expected `other` or `done` only');
            if (time % 3 === 2) await turn();
          }
        };
        await Promise.all([finish(), claim()]);
        assert.deepEqual(new Set(await claimAll(backends, groupUuid, taskUuids)), new Set(['done']));
      }
    });

    suite.it('neither claim nor flag is lost when the group is renewed at the same time', async (open) => {
      const backends = await openMany(open, 4);
      const [a, b, c, d] = backends as [Backend, Backend, Backend, Backend];
      for (let round = 0; round < rounds; round++) {
        const group = await start(a, 2);
        const { groupUuid, taskUuids } = group;
        const [first = '', second = ''] = taskUuids;
        const renewals = () => [b, c, d, b, c, d].map((backend) => backend.renewGroup(groupUuid, longSeconds));
        // Before, after and around it: of two that write what they read, the last one hides what the other lost.
        const between = (step: () => Promise<unknown>) =>
          Promise.all([...(round % 3 === 1 ? [] : renewals()), step(), ...(round % 3 === 0 ? [] : renewals())]);
        await between(() => a.claimChord(groupUuid, first));
        assert.equal(await d.claimChord(groupUuid, second), 'other', 'Expected the claim to be kept');
        await between(() => a.finishChord(groupUuid));
        assert.equal(await d.claimChord(groupUuid, first), 'done', 'Expected the flag to be kept');
        assertSameGroup(await c.readGroup(groupUuid), { ...group, chordTriggered: true });
      }
    });

    suite.it('on a group that is not there rejects with ERR_MACHINERY_GROUP_EXPIRED', async (open) => {
      const [a, b] = [await open(), await open()];
      const expired = { code: 'ERR_MACHINERY_GROUP_EXPIRED' };
      await assert.rejects(a.claimChord(newGroupUuid(), newTaskUuid()), expired);
      const { groupUuid, taskUuids } = await start(a, 2);
      const [first = '', second = ''] = taskUuids;
      assert.equal(await a.claimChord(groupUuid, first), 'claimed');
      await b.purge({ groups: [groupUuid] });
      for (const member of [first, second]) await assert.rejects(a.claimChord(groupUuid, member), expired);
      // Nor does a claim bring it back.
      assert.equal(await b.readGroup(groupUuid), undefined);
    });

    suite.it('is forgotten when the group is purged', async (open) => {
      const [a, b] = [await open(), await open()];
      const group = await start(a, 2);
      const [first = '', second = ''] = group.taskUuids;
      for (const member of [first, second]) {
        assert.equal(await a.claimChord(group.groupUuid, member), 'claimed');
        await a.finishChord(group.groupUuid);
        await b.purge({ groups: [group.groupUuid] });
        await b.initGroup(group, longSeconds);
      }
    });

    suite.it('works for many groups at once, each by itself', async (open) => {
      const backends = await openMany(open, 3);
      await Promise.all(
        Array.from({ length: 20 }, async (_, i) => {
          const { groupUuid, taskUuids } = await start(backends[i % 3] as Backend, 5);
          const claims = await claimAll(backends, groupUuid, taskUuids);
          assert.equal(claims.filter((claim) => claim === 'claimed').length, 1);
          await (backends[0] as Backend).finishChord(groupUuid);
          assert.deepEqual(new Set(await claimAll(backends, groupUuid, taskUuids)), new Set(['done']));
        }),
      );
    });
  });
}
