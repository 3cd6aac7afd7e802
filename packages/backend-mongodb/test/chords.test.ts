// Who sends the callback of a chord, among many that ask, with a Go worker that has decided, and when workers are killed.

import process from 'node:process';
import { RedisBroker } from '@machinery/broker-redis';
import { chord, defineTask, int64, rest, Server } from '@machinery/core';
import { mongoServer, NodeProgram, redisServer } from '@machinery/services';
import { describe, expect, it, onTestFinished } from 'vitest';
import { MongoBackend } from '../src/index.ts';
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

  it('of more members than a document holds is refused in words', async () => {
    const group = groupOf(Array.from({ length: 100_000 }, (_, i) => `${i}`.padEnd(200, '-')));
    await expect(open({ url, database }).initGroup(group, 60)).rejects.toMatchObject({
      code: 'ERR_MACHINERY_STATE_TOO_LARGE',
      message: expect.stringMatching(/has 100000 members, whose UUIDs take 21\d{6} bytes: .* at most 16 MiB/),
    });
  });
});

describe.skipIf(redis === undefined || mongo === undefined)('a chord of 1,000 on four workers', () => {
  const member = defineTask('member', { args: [int64], returns: int64 });
  const callback = defineTask('callback', { args: rest(int64), returns: int64 });
  const numbers = Array.from({ length: 1_000 }, (_, i) => i);

  it.each([
    ['calls back once, with all results in order', 0],
    ['calls back with all results in order though two of them are killed in the middle', 2],
  ])(
    '%s',
    async (_, kills) => {
      Object.assign(process.env, { REDIS_TEST_URL: redis?.url, MONGODB_TEST_URL: url });
      const queue = newUuid();
      let members = 0;
      const callbacks: (readonly number[])[] = [];
      const start = (name: string) => {
        const onReport = (report: { event: 'member' } | { event: 'callback'; numbers: number[] }) => {
          if (report.event === 'callback') callbacks.push(report.numbers);
          else if (++members === 300 || members === 600) void dying.shift()?.kill();
        };
        const program = new URL('crashes/worker.mjs', import.meta.url);
        const worker = new NodeProgram({
          program,
          config: { queue, name, leaseMs: kills === 0 ? 20_000 : 2_000 },
          onReport,
        });
        onTestFinished(() => worker.kill());
        return worker;
      };
      const workers = [1, 2, 3, 4].map((i) => start(`worker-${i}`));
      const dying = workers.slice(0, kills);
      const server = new Server({
        broker: new RedisBroker({ url: redis?.url as string }),
        backend: new MongoBackend({ url, database: 'crashes' }),
        defaultQueue: queue,
      });
      onTestFinished(() => server.close());
      const sent = await server.send(
        chord(
          numbers.map((n) => member(n)),
          callback.partial(),
        ),
      );
      expect(await sent.get({ timeoutMs: 40_000 })).toBe(1_000);
      expect(callbacks.length).toBeGreaterThanOrEqual(1);
      for (const given of callbacks) expect(given).toEqual(numbers);
      expect(dying).toHaveLength(0);
      if (kills === 0) expect({ members, callbacks: callbacks.length }).toEqual({ members: 1_000, callbacks: 1 });
    },
    60_000,
  );
});
