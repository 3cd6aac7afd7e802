// Who sends the callback of a chord, among many that ask, with a Go worker that has decided, and when workers are killed.

import process from 'node:process';
import { mongoServer, redisServer, testLargeChord } from '@machinery/services';
import { describe, expect, it } from 'vitest';
import { groupOf, newClient, newUuid, open, stopped } from './setup.ts';

const [redis, mongo] = [stopped(await redisServer()), stopped(await mongoServer())];
const url = mongo?.url as string;
const database = 'chords';

describe.skipIf(mongo === undefined)('the chord of a group', { timeout: 30_000 }, () => {
  const groups = newClient(url).db(database).collection<{ _id: string }>('group_metas');

  it('is claimed by one of 50 that ask at once, through five connections, again and again', async () => {
    const backends = Array.from({ length: 5 }, () => open({ url, database }));
    for (let round = 0; round < 5; round++) {
      const group = groupOf(Array.from({ length: 50 }, () => newUuid()));
      await backends[0]?.initGroup(group, 60);
      const claims = await Promise.all(
        group.taskUuids.map((member, i) => backends[i % 5]?.claimChord(group.groupUuid, member)),
      );
      expect(claims.toSorted()).toEqual(['claimed', ...Array(49).fill('other')]);
    }
  });

  it('is done when a Go worker has decided, though nobody has claimed it', async () => {
    const [backend, group] = [open({ url, database }), groupOf([newUuid()])];
    await backend.initGroup(group, 60);
    await groups.updateOne({ _id: group.groupUuid, chord_triggered: false }, { $set: { chord_triggered: true } });
    expect(await backend.claimChord(group.groupUuid, 'a member')).toBe('done');
  });

  it('is claimed though Go stored the group, which it does for ever', async () => {
    const [backend, { groupUuid, taskUuids }] = [open({ url, database }), groupOf([newUuid()])];
    const created_at = new Date();
    const meta = { task_uuids: taskUuids, chord_triggered: false, lock: false, created_at };
    await groups.insertOne({ _id: groupUuid, ...meta });
    await backend.renewGroup(groupUuid, 60);
    expect(await backend.claimChord(groupUuid, 'a member')).toBe('claimed');
    const expected = { groupUuid, taskUuids, chordTriggered: false, lock: false, createdAt: created_at.toISOString() };
    expect(await backend.readGroup(groupUuid)).toEqual(expected);
  });

  it('is claimed once where its document says neither yes nor no', async () => {
    const [backend, { groupUuid, taskUuids }] = [open({ url, database }), groupOf([newUuid()])];
    await groups.insertOne({ _id: groupUuid, task_uuids: taskUuids } as { _id: string });
    expect(await backend.claimChord(groupUuid, 'a member')).toBe('claimed');
    expect(await backend.claimChord(groupUuid, 'another')).toBe('other');
  });

  it('of more members than a document holds is refused in words', async () => {
    const group = groupOf(Array.from({ length: 100_000 }, (_, i) => `${i}`.padEnd(200, '-')));
    await expect(open({ url, database }).initGroup(group, 60)).rejects.toMatchObject({
      code: 'ERR_MACHINERY_STATE_TOO_LARGE',
      message: expect.stringMatching(/has 100000 members, whose UUIDs take 21\d{6} bytes: .* at most 16 MiB/),
    });
  });
});

describe.skipIf(redis === undefined || mongo === undefined)(
  'a chord of 1,000 on four workers',
  { timeout: 120_000 },
  () => {
    Object.assign(process.env, { REDIS_TEST_URL: redis?.url, MONGODB_TEST_URL: url });
    const adapters = new URL('crashes/adapters.mjs', import.meta.url).href;
    testLargeChord(it, adapters);
  },
);
