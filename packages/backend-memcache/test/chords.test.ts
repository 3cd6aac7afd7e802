// Who sends the callback of a chord: one of ours, or a Go worker, which locks the meta and decides without asking anybody else.

import type { GroupMeta } from '@machinery/core';
import { startMemcached } from '@machinery/services';
import { beforeEach, describe, expect, it } from 'vitest';
import { encodeRecord } from '../src/group-record.ts';
import { groupOf, newUuid, open, stopped } from './setup.ts';

const memcached = stopped(await startMemcached());

describe.skipIf(memcached === undefined)('the chord of a group', () => {
  const url = memcached?.url ?? 'memcache://127.0.0.1:1';
  const backend = open({ url });
  let group: GroupMeta;
  beforeEach(async () => {
    group = groupOf(Array.from({ length: 50 }, () => newUuid()));
    await backend.initGroup(group, 60);
  });
  /** What a Go worker writes: the whole meta, whatever is there. */
  const setAsGo = async (meta: GroupMeta) => {
    const text = encodeRecord({ meta });
    await memcached?.tell(`set ${meta.groupUuid} 0 60 ${Buffer.byteLength(text)}\r\n${text}\r\n`, 'STORED');
  };
  const secondsLeft = async () => {
    const answer = (await memcached?.tell(`mg ${group.groupUuid} t\r\n`, '\r\n')) as string;
    return Number(/ t(\d+)/.exec(answer)?.[1]);
  };

  it('is claimed by one of 50 that ask at once, through five connections', async () => {
    const backends = Array.from({ length: 5 }, () => open({ url }));
    const claims = await Promise.all(
      group.taskUuids.map((member, i) => backends[i % 5]?.claimChord(group.groupUuid, member)),
    );
    expect(claims.toSorted()).toEqual(['claimed', ...Array(49).fill('other')]);
  });

  it('is waited for while a Go worker has locked it, and is then done', async () => {
    await setAsGo({ ...group, lock: true });
    const claim = backend.claimChord(group.groupUuid, 'a member');
    expect(await Promise.race([claim, new Promise((resolve) => setTimeout(resolve, 200))])).toBeUndefined();
    await setAsGo({ ...group, lock: true, chordTriggered: true });
    expect(await claim).toBe('done');
  });

  it('is claimed a second after a Go worker has locked it and died', async () => {
    await setAsGo({ ...group, lock: true });
    const from = performance.now();
    expect(await backend.claimChord(group.groupUuid, 'a member')).toBe('claimed');
    expect(performance.now() - from).toBeGreaterThan(950);
  });

  it('is done, with no claim, when a Go worker has written over the claim', async () => {
    await backend.claimChord(group.groupUuid, 'a member');
    await setAsGo({ ...group, chordTriggered: true });
    expect(await backend.claimChord(group.groupUuid, 'a member')).toBe('done');
    await backend.finishChord(group.groupUuid);
    expect(await backend.readGroup(group.groupUuid)).toEqual({ ...group, chordTriggered: true });
  });

  it('has a meta that is renewed for a tenth longer than asked, so that the next renewals write nothing', async () => {
    const others = [open({ url }), open({ url })];
    await Promise.all([backend, ...others].map((each) => each.renewGroup(group.groupUuid, 1_000)));
    expect(await secondsLeft()).toBeGreaterThan(1_090);
    const before = (await memcached?.stats()) as Readonly<Record<string, number>>;
    for (const each of others) await each.renewGroup(group.groupUuid, 1_050);
    const after = (await memcached?.stats()) as Readonly<Record<string, number>>;
    expect(after.cmd_set).toBe(before.cmd_set);
  });

  it('of 20,000 members, with UUIDs as they are, fits into one item; one of longer UUIDs is refused in words', async () => {
    const uuids = (length: number) => Array.from({ length: 20_000 }, (_, i) => `task_${i}`.padEnd(length, '-'));
    const [fits, tooLarge] = [groupOf(uuids(41)), groupOf(uuids(60))];
    await backend.initGroup(fits, 60);
    expect(await backend.claimChord(fits.groupUuid, 'a member')).toBe('claimed');
    await backend.finishChord(fits.groupUuid);
    expect(await backend.readGroup(fits.groupUuid)).toEqual({ ...fits, chordTriggered: true });
    await expect(backend.initGroup(tooLarge, 60)).rejects.toMatchObject({
      code: 'ERR_MACHINERY_STATE_TOO_LARGE',
      message: expect.stringMatching(/^The meta of group \S+, with 20000 tasks, has 12\d+ bytes, .* at most 1000000$/),
    });
  });
});
