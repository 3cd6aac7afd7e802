// The memory backend: groups and chord claims.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MemoryBackend } from '../../src/memory/memory-backend.ts';
import type { GroupMeta } from '../../src/task-state.ts';

let backend: MemoryBackend;
beforeEach(() => {
  backend = new MemoryBackend();
});
afterEach(async () => {
  await backend.close();
  vi.useRealTimers();
});

const meta: GroupMeta = { groupUuid: 'g', taskUuids: ['a', 'b', 'c'], chordTriggered: false, lock: false };

describe('a group', () => {
  it('is read as it was stored, and undefined when it is not there', async () => {
    await backend.initGroup({ ...meta, createdAt: '2026-01-02T03:04:05Z' }, 60);
    expect(await backend.readGroup('g')).toEqual({ ...meta, createdAt: '2026-01-02T03:04:05Z' });
    expect(await backend.readGroup('none')).toBeUndefined();
  });

  it('does not change with the list that was given', async () => {
    const taskUuids = ['a', 'b'];
    await backend.initGroup({ ...meta, taskUuids }, 60);
    taskUuids.push('z');
    expect((await backend.readGroup('g'))?.taskUuids).toEqual(['a', 'b']);
  });

  it('is replaced by another of the same UUID, with its claim', async () => {
    await backend.initGroup(meta, 60);
    await backend.claimChord('g', 'a');
    await backend.finishChord('g');
    await backend.initGroup({ ...meta, taskUuids: ['x'] }, 60);
    expect(await backend.readGroup('g')).toEqual({ ...meta, taskUuids: ['x'] });
    expect(await backend.claimChord('g', 'x')).toBe('claimed');
  });

  it('expires, and can be renewed before', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'setInterval', 'clearInterval'] });
    await backend.initGroup(meta, 60);
    vi.setSystemTime(Date.now() + 50_000);
    await backend.renewGroup('g', 60);
    vi.setSystemTime(Date.now() + 59_999);
    expect(await backend.readGroup('g')).toEqual(meta);
    vi.setSystemTime(Date.now() + 1);
    await backend.renewGroup('g', 60);
    expect(await backend.readGroup('g')).toBeUndefined();
  });

  it('is never kept shorter by renewing it', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'setInterval', 'clearInterval'] });
    await backend.initGroup(meta, 3_600);
    await backend.renewGroup('g', 60);
    vi.setSystemTime(Date.now() + 3_599_999);
    expect(await backend.readGroup('g')).toEqual(meta);
  });
});

describe('claimChord', () => {
  it('is claimed by exactly one of many that ask at once', async () => {
    await backend.initGroup(meta, 60);
    const members = Array.from({ length: 50 }, (_, i) => `m${i}`);
    const claims = await Promise.all(members.map((member) => backend.claimChord('g', member)));
    expect(claims.filter((claim) => claim === 'claimed')).toHaveLength(1);
    expect(claims.filter((claim) => claim === 'other')).toHaveLength(49);
  });

  it('is claimed again by the member that claimed before', async () => {
    await backend.initGroup(meta, 60);
    expect(await backend.claimChord('g', 'b')).toBe('claimed');
    expect(await backend.claimChord('g', 'a')).toBe('other');
    expect(await backend.claimChord('g', 'b')).toBe('claimed');
    await backend.renewGroup('g', 60);
    expect(await backend.claimChord('g', 'a')).toBe('other');
  });

  it('is done for everyone after finishChord, which may be repeated', async () => {
    await backend.initGroup(meta, 60);
    await backend.claimChord('g', 'a');
    await backend.finishChord('g');
    await backend.finishChord('g');
    expect(await Promise.all(['a', 'b'].map((member) => backend.claimChord('g', member)))).toEqual(['done', 'done']);
    expect((await backend.readGroup('g'))?.chordTriggered).toBe(true);
  });

  it('is done where the meta says so from the start', async () => {
    await backend.initGroup({ ...meta, chordTriggered: true }, 60);
    expect(await backend.claimChord('g', 'a')).toBe('done');
  });

  it('rejects for a group that never was, is purged or has expired; finishing that is no error', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'setInterval', 'clearInterval'] });
    const expired = { code: 'ERR_MACHINERY_GROUP_EXPIRED' };
    await expect(backend.claimChord('g', 'a')).rejects.toMatchObject(expired);
    await backend.initGroup(meta, 60);
    await backend.purge({ groups: ['g'] });
    await expect(backend.claimChord('g', 'a')).rejects.toMatchObject(expired);
    await backend.initGroup(meta, 60);
    vi.setSystemTime(Date.now() + 60_000);
    await expect(backend.claimChord('g', 'a')).rejects.toMatchObject(expired);
    await backend.finishChord('g');
    expect(await backend.readGroup('g')).toBeUndefined();
  });
});
