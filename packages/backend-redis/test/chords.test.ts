// Who sends the callback of a chord: one of ours, or one of Go's workers, which decide under a mutex of their own.

import { setTimeout as sleep } from 'node:timers/promises';
import type { GroupMeta } from '@machinery/core';
import { startRedis } from '@machinery/services';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { newUuid, open, outcome, raw, sentAt, stopped } from './setup.ts';

const redis = stopped(await startRedis()); // its own: nobody else decides there
const goMutex = 'TriggerChordMutex';

describe.skipIf(redis === undefined)('the chord of a group', () => {
  const url = redis?.url ?? 'redis://127.0.0.1:1';
  const backend = open({ url });
  const client = raw({ url });
  let group: GroupMeta;
  const claimKey = () => `{${group.groupUuid}}:claim`;
  beforeEach(async () => {
    await client.unlink(goMutex);
    const taskUuids = Array.from({ length: 50 }, () => newUuid());
    group = { groupUuid: newUuid('group'), taskUuids, chordTriggered: false, lock: false, createdAt: sentAt };
    await backend.initGroup(group, 60);
  });
  afterAll(() => client.unlink(goMutex));
  /** What a Go worker does while it holds its mutex. */
  const triggerAsGo = async () => {
    const text = (await client.get(group.groupUuid)) as string;
    await client.set(group.groupUuid, text.replace('Triggered":false', 'Triggered":true'), 'EX', 60);
  };

  it('is claimed by one of 50 that ask at once, through five connections', async () => {
    const backends = Array.from({ length: 5 }, () => open({ url }));
    const claims = await Promise.all(
      group.taskUuids.map((member, i) => backends[i % 5]?.claimChord(group.groupUuid, member)),
    );
    expect(claims.toSorted()).toEqual(['claimed', ...Array(49).fill('other')]);
    const claimer = group.taskUuids[claims.indexOf('claimed')] as string;
    expect(await backends[0]?.claimChord(group.groupUuid, claimer)).toBe('claimed');
    await backend.finishChord(group.groupUuid);
    expect(await Promise.all(backends.map((each) => each.claimChord(group.groupUuid, claimer)))).toEqual(
      Array(5).fill('done'),
    );
  });

  it('has the flag of Go with the claim, and is triggered for ours when it is finished', async () => {
    await backend.claimChord(group.groupUuid, 'a member');
    const flagged = JSON.parse((await client.get(group.groupUuid)) as string);
    expect(flagged).toMatchObject({ GroupUUID: group.groupUuid, TaskUUIDs: group.taskUuids, ChordTriggered: true });
    expect(await backend.readGroup(group.groupUuid)).toEqual(group);
    await backend.finishChord(group.groupUuid);
    expect(await backend.readGroup(group.groupUuid)).toEqual({ ...group, chordTriggered: true });
    expect(await client.get(claimKey())).toBe('done');
  });

  it('is done when a Go worker has decided, and there is no claim', async () => {
    await triggerAsGo();
    expect(await backend.claimChord(group.groupUuid, 'a member')).toBe('done');
    expect(await client.exists(claimKey())).toBe(0);
    expect(await backend.readGroup(group.groupUuid)).toMatchObject({ chordTriggered: true });
  });

  it('is claimed when the mutex of Go is free again, and only then', async () => {
    await client.set(goMutex, 'x', 'PX', 300, 'NX');
    const from = performance.now();
    const claims = await Promise.all(['a', 'b', 'c'].map((member) => backend.claimChord(group.groupUuid, member)));
    expect(performance.now() - from).toBeGreaterThan(250);
    expect(claims.toSorted()).toEqual(['claimed', 'other', 'other']);
  });

  it('is done when the Go worker that holds the mutex decides meanwhile', async () => {
    await client.set(goMutex, 'x', 'PX', 5_000, 'NX');
    const claim = backend.claimChord(group.groupUuid, 'a member');
    await sleep(100);
    await triggerAsGo();
    await client.unlink(goMutex);
    expect(await claim).toBe('done');
  });

  it('is no longer waited for when the backend is closed', async () => {
    const closing = open({ url });
    await client.set(goMutex, 'x', 'PX', 5_000, 'NX');
    const claims = ['a', 'b'].map((member) => outcome(closing.claimChord(group.groupUuid, member)));
    await sleep(100);
    await closing.close();
    for (const { code, tookMs } of await Promise.all(claims)) {
      expect(code).toBe('ERR_MACHINERY_CLOSED');
      expect(tookMs).toBeLessThan(1_000);
    }
  });

  it('does not take the mutex of Go', async () => {
    await backend.claimChord(group.groupUuid, 'a member');
    expect(await client.exists(goMutex)).toBe(0);
  });

  it('is claimed until the meta ends, and both are renewed', async () => {
    const ttls = async () => [await client.pttl(group.groupUuid), await client.pttl(claimKey())] as const;
    await backend.claimChord(group.groupUuid, 'a member');
    const [meta, claim] = await ttls();
    expect(meta).toBeGreaterThan(55_000);
    expect(Math.abs(meta - claim)).toBeLessThan(100);
    await backend.renewGroup(group.groupUuid, 30); // never shorter
    expect((await ttls()).every((ttl) => ttl > 55_000)).toBe(true);
    await backend.renewGroup(group.groupUuid, 120);
    expect((await ttls()).every((ttl) => ttl > 115_000)).toBe(true);
    await backend.finishChord(group.groupUuid);
    expect((await ttls()).every((ttl) => ttl > 115_000)).toBe(true);
  });

  it('starts over with the group', async () => {
    await backend.claimChord(group.groupUuid, 'a member');
    await backend.initGroup(group, 60);
    expect(await client.exists(claimKey())).toBe(0);
    expect(await backend.claimChord(group.groupUuid, 'another')).toBe('claimed');
    await backend.finishChord(group.groupUuid);
    await backend.initGroup(group, 60);
    expect(await backend.readGroup(group.groupUuid)).toEqual(group);
    expect(await backend.claimChord(group.groupUuid, 'a third')).toBe('claimed');
  });

  it('does not come back from its end', async () => {
    await backend.claimChord(group.groupUuid, 'a member');
    await client.unlink(group.groupUuid);
    await backend.finishChord(group.groupUuid);
    await backend.renewGroup(group.groupUuid, 60);
    expect(await client.exists(group.groupUuid)).toBe(0);
    expect((await outcome(backend.claimChord(group.groupUuid, 'a member'))).code).toBe('ERR_MACHINERY_GROUP_EXPIRED');
  });

  it('is found in the scripts after the server has forgotten them', async () => {
    await backend.claimChord(group.groupUuid, 'a member');
    await client.script('FLUSH');
    expect(await backend.claimChord(group.groupUuid, 'a member')).toBe('claimed');
  });
});
