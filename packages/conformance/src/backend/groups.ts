// Metas of groups: stored, read, replaced, removed, and how long they are kept.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, GroupMeta } from '@machinery/core';
import type { BackendSuite } from './backend-under-test.ts';
import {
  assertSameGroup,
  expectStored,
  groupOf,
  longSeconds,
  newGroupUuid,
  newTaskUuids,
  stateOf,
  store,
} from './sample-states.ts';

export function testGroups(suite: BackendSuite): void {
  suite.describe('a group', () => {
    suite.it('is read as it was stored, by another instance and as often as asked', async (open) => {
      const [writer, reader] = [await open(), await open()];
      for (const more of [
        {},
        { chordTriggered: true },
        { lock: true },
        { chordTriggered: true, lock: true },
        { createdAt: '2026-11-21T08:00:00.123456789Z' },
      ]) {
        const group = groupOf(newTaskUuids(3), more);
        await writer.initGroup(group, longSeconds);
        for (const backend of [reader, reader, writer]) {
          assertSameGroup(await backend.readGroup(group.groupUuid), group);
        }
      }
    });

    suite.it('needs no time of creation', async (open) => {
      const backend = await open();
      const { createdAt: _, ...group } = groupOf(newTaskUuids(2));
      await backend.initGroup(group, longSeconds);
      assertSameGroup(await backend.readGroup(group.groupUuid), group);
    });

    suite.it('that was never there is undefined', async (open) => {
      const backend = await open();
      assert.equal(await backend.readGroup(newGroupUuid()), undefined);
    });

    suite.it('may be empty', async (open) => {
      const backend = await open();
      const group = groupOf([]);
      await backend.initGroup(group, longSeconds);
      assertSameGroup(await backend.readGroup(group.groupUuid), group);
    });

    suite.it('keeps its members in their order, and those whose UUIDs are any texts', async (open) => {
      const backend = await open();
      const [a = '', b = '', c = ''] = newTaskUuids(3).toSorted();
      const odd = ['z', 'a', '10', '9', 'with space', 'a:{b}', '☃', '"q"', '\n', a];
      for (const members of [[a, b, c], [c, a, b], [b, c, a], odd]) {
        const group = groupOf(members);
        await backend.initGroup(group, longSeconds);
        assertSameGroup(await backend.readGroup(group.groupUuid), group);
      }
    });

    const most = suite.declares.maxGroupSize ?? 10_000;
    suite.it(`may have ${most} members`, async (open) => {
      const [writer, reader] = [await open(), await open()];
      const group = groupOf(newTaskUuids(most));
      await writer.initGroup(group, longSeconds);
      assertSameGroup(await reader.readGroup(group.groupUuid), group);
      await reader.renewGroup(group.groupUuid, longSeconds);
      assert.equal(await reader.claimChord(group.groupUuid, group.taskUuids[0] as string), 'claimed');
      await writer.finishChord(group.groupUuid);
      assertSameGroup(await reader.readGroup(group.groupUuid), { ...group, chordTriggered: true });
    });

    suite.it('replaces one of the same UUID, with its claim and its flag', async (open) => {
      const [a, b] = [await open(), await open()];
      const old = groupOf(newTaskUuids(3), { lock: true });
      const [first = '', second = ''] = old.taskUuids;
      for (const end of [async () => {}, () => b.finishChord(old.groupUuid)]) {
        await a.initGroup(old, longSeconds);
        assert.equal(await a.claimChord(old.groupUuid, first), 'claimed');
        await end();
        const { groupUuid } = old;
        const next = groupOf([second, ...newTaskUuids(1)], { groupUuid, createdAt: '2026-11-21T09:00:00Z' });
        await b.initGroup(next, longSeconds);
        assertSameGroup(await a.readGroup(groupUuid), next);
        assert.equal(await a.claimChord(groupUuid, second), 'claimed', 'Expected the old claim to be gone');
        assert.equal(await b.claimChord(groupUuid, first), 'other');
        await a.purge({ groups: [groupUuid] });
      }
    });

    suite.it('is stored at the same time as others', async (open) => {
      const [a, b] = [await open(), await open()];
      const groups = Array.from({ length: 50 }, (_, i) => groupOf(newTaskUuids(i % 5)));
      await Promise.all(groups.map((group, i) => (i % 2 ? a : b).initGroup(group, longSeconds)));
      await Promise.all(groups.map(async (group) => assertSameGroup(await a.readGroup(group.groupUuid), group)));
    });

    suite.it('does not touch another with the same members', async (open) => {
      const backend = await open();
      const members = newTaskUuids(2);
      const [one, two] = [groupOf(members), groupOf(members)];
      const [member = '', other = ''] = members;
      await backend.initGroup(one, longSeconds);
      await backend.initGroup(two, longSeconds);
      assert.equal(await backend.claimChord(one.groupUuid, member), 'claimed');
      await backend.finishChord(one.groupUuid);
      assertSameGroup(await backend.readGroup(two.groupUuid), two);
      assert.equal(await backend.claimChord(two.groupUuid, other), 'claimed');
      await backend.purge({ groups: [one.groupUuid] });
      assert.equal(await backend.claimChord(two.groupUuid, other), 'claimed');
      assert.equal(await backend.claimChord(two.groupUuid, member), 'other');
    });

    suite.it('is gone when it is purged, and nothing else is', async (open) => {
      const [a, b] = [await open(), await open()];
      const member = stateOf('SUCCESS');
      const [gone, kept] = [groupOf([member.taskUuid]), groupOf([member.taskUuid])];
      await store(a, [member]);
      await a.initGroup(gone, longSeconds);
      await a.initGroup(kept, longSeconds);
      await b.purge({ groups: [gone.groupUuid, newGroupUuid()] });
      assert.equal(await a.readGroup(gone.groupUuid), undefined);
      assertSameGroup(await b.readGroup(kept.groupUuid), kept);
      await expectStored(a, [member]);
      await b.purge({ tasks: [member.taskUuid], groups: [kept.groupUuid] });
      assert.equal(await a.readGroup(kept.groupUuid), undefined);
    });

    suite.it('that is gone is no error to renew, finish or purge, and does not come back by it', async (open) => {
      const backend = await open();
      const group = groupOf(newTaskUuids(1));
      await backend.initGroup(group, longSeconds);
      for (const groupUuid of [newGroupUuid(), group.groupUuid]) {
        await backend.purge({ groups: [groupUuid] });
        await backend.renewGroup(groupUuid, longSeconds);
        await backend.finishChord(groupUuid);
        await backend.purge({ groups: [groupUuid] });
        assert.equal(await backend.readGroup(groupUuid), undefined);
      }
    });
  });

  testGroupExpiry(suite);
}

function testGroupExpiry(suite: BackendSuite): void {
  const isGone = async (backend: Backend, { groupUuid, taskUuids }: GroupMeta): Promise<void> => {
    assert.equal(await backend.readGroup(groupUuid), undefined, 'Expected the group to be gone after its time');
    const claim = backend.claimChord(groupUuid, taskUuids[0] as string);
    await assert.rejects(claim, { code: 'ERR_MACHINERY_GROUP_EXPIRED' });
  };

  suite.describe('a group that expires', () => {
    suite.together({
      'is read until its time has passed, and is gone after it': async (open) => {
        const [writer, reader] = [await open(), await open()];
        const group = groupOf(newTaskUuids(2));
        const writtenAt = Date.now();
        await writer.initGroup(group, 1);
        const expired = suite.untilExpired(1);
        for (;;) {
          const read = await reader.readGroup(group.groupUuid);
          if (Date.now() - writtenAt >= 1_000) break;
          assertSameGroup(read, group);
          await sleep(50);
        }
        await expired;
        await isGone(reader, group);
      },

      'is kept longer by renewing it, and as it was': async (open) => {
        const [a, b] = [await open(), await open()];
        const [untouched, claimed, finished] = [0, 1, 2].map(() => groupOf(newTaskUuids(2))) as [
          GroupMeta,
          GroupMeta,
          GroupMeta,
        ];
        for (const group of [untouched, claimed, finished]) await a.initGroup(group, 1);
        const [first = '', second = ''] = claimed.taskUuids;
        await a.claimChord(claimed.groupUuid, first);
        await a.finishChord(finished.groupUuid);
        for (const { groupUuid } of [untouched, claimed, finished]) await b.renewGroup(groupUuid, longSeconds);
        await suite.untilExpired(1);
        assertSameGroup(await a.readGroup(untouched.groupUuid), untouched);
        assert.equal(await b.claimChord(claimed.groupUuid, second), 'other', 'Expected the claim to live as long');
        assert.equal(await b.claimChord(claimed.groupUuid, first), 'claimed');
        assert.equal(await b.claimChord(finished.groupUuid, first), 'done', 'Expected the flag to live as long');
      },

      'is never kept shorter by renewing it': async (open) => {
        const [a, b] = [await open(), await open()];
        const group = groupOf(newTaskUuids(2));
        await a.initGroup(group, longSeconds);
        await b.renewGroup(group.groupUuid, 1);
        await suite.untilExpired(1);
        assertSameGroup(await a.readGroup(group.groupUuid), group);
        assert.equal(await b.claimChord(group.groupUuid, group.taskUuids[1] as string), 'claimed');
      },

      'counts from the renewal, not from the beginning': async (open) => {
        const backend = await open();
        const group = groupOf(newTaskUuids(1));
        const startedAt = Date.now();
        await backend.initGroup(group, 1);
        await sleep(600);
        const renewedAt = Date.now();
        await backend.renewGroup(group.groupUuid, 1);
        // On a slow machine it may have expired before it was renewed.
        const renewedInTime = Date.now() - startedAt < 1_000;
        const expired = suite.untilExpired(1);
        await sleep(800);
        const read = await backend.readGroup(group.groupUuid);
        if (renewedInTime && Date.now() - renewedAt < 1_000) assertSameGroup(read, group);
        await expired;
        await isGone(backend, group);
      },

      'is gone after its time although it was claimed or finished': async (open) => {
        const [a, b] = [await open(), await open()];
        const [claimed, finished] = [groupOf(newTaskUuids(1)), groupOf(newTaskUuids(1))];
        await Promise.all([a.initGroup(claimed, 2), a.initGroup(finished, 2)]);
        await b.claimChord(claimed.groupUuid, claimed.taskUuids[0] as string);
        await b.finishChord(finished.groupUuid);
        await suite.untilExpired(2);
        await isGone(a, claimed);
        await isGone(a, finished);
      },

      'does not come back by renewing or finishing it': async (open) => {
        const [a, b] = [await open(), await open()];
        const group = groupOf(newTaskUuids(1));
        await a.initGroup(group, 1);
        await suite.untilExpired(1);
        await b.renewGroup(group.groupUuid, longSeconds);
        await b.finishChord(group.groupUuid);
        await isGone(a, group);
      },

      'can be started again, without the claim and the flag of before': async (open) => {
        const [a, b] = [await open(), await open()];
        const group = groupOf(newTaskUuids(2));
        const [first = '', second = ''] = group.taskUuids;
        await a.initGroup(group, 1);
        await a.claimChord(group.groupUuid, first);
        await a.finishChord(group.groupUuid);
        await suite.untilExpired(1);
        await b.initGroup(group, longSeconds);
        assertSameGroup(await a.readGroup(group.groupUuid), group);
        assert.equal(await a.claimChord(group.groupUuid, second), 'claimed');
        assert.equal(await b.claimChord(group.groupUuid, first), 'other');
      },

      'a shorter time of a group that replaces it is what counts': async (open) => {
        const backend = await open();
        const group = groupOf(newTaskUuids(1));
        await backend.initGroup(group, longSeconds);
        await backend.initGroup(group, 1);
        await suite.untilExpired(1);
        await isGone(backend, group);
      },
    });
  });
}
