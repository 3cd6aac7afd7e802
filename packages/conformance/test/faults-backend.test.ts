// What a FaultyBackend does to the calls that are to fail, and that it is a backend like any other while none is.

import { failed, type StateWrite } from '@machinery/core';
import { MemoryBackend } from '@machinery/core/memory';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testBackend } from '../src/backend/index.ts';
import { FaultyBackend, withoutPush } from '../src/faults/index.ts';
import { handlesOn } from './backend-cases.ts';

const runner = { describe, it, before: beforeAll, after: afterAll };
const away = { code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' };
const group = { groupUuid: 'g', taskUuids: ['a'], chordTriggered: false, lock: false };

function write(taskUuid: string): StateWrite {
  return { state: { taskUuid, taskName: 'task', state: 'SUCCESS', results: [] }, expiresInSeconds: 60 };
}

function backends(): { memory: MemoryBackend; backend: FaultyBackend } {
  const memory = new MemoryBackend();
  return { memory, backend: new FaultyBackend(memory) };
}

const isThere = async (memory: MemoryBackend, ...uuids: string[]) =>
  (await memory.read(uuids)).map((state) => state !== undefined);

describe('a FaultyBackend without faults', () => {
  testBackend(runner, {
    create: handlesOn(() => new FaultyBackend(new MemoryBackend())),
    declares: { storesResults: true, push: true },
  });
});

describe('a backend without push', () => {
  testBackend(runner, { create: handlesOn(() => withoutPush(new MemoryBackend())), declares: { storesResults: true } });
});

describe('a FaultyBackend', () => {
  it('fails the n-th call before or after it was carried out', async () => {
    const { memory, backend } = backends();
    backend.faults.fail('write');
    backend.faults.fail('write', { nth: 2, moment: 'after' });
    await expect(backend.write([write('a')])).rejects.toMatchObject(away);
    await expect(backend.write([write('b')])).rejects.toMatchObject(away);
    await backend.write([write('c')]);
    expect(await isThere(memory, 'a', 'b', 'c')).toEqual([false, true, true]);
    expect(backend.statesWritten).toBe(3);
  });

  it('answers `failed` or `unknown`, and refuses single states', async () => {
    const { memory, backend } = backends();
    backend.faults.fail('write', { answered: true });
    backend.faults.fail('write', { nth: 2, answered: true, moment: 'after' });
    expect(await backend.write([write('a')])).toMatchObject([{ status: 'failed', retryable: true }]);
    expect(await backend.write([write('b')])).toMatchObject([{ status: 'unknown' }]);
    const refusal = failed(new Error('refused'), false);
    backend.refuse = ({ state }) => (state.taskUuid === 'c' ? refusal : undefined);
    expect(await backend.write([write('c'), write('d')])).toEqual([refusal, { status: 'stored' }]);
    expect(await isThere(memory, 'a', 'b', 'c', 'd')).toEqual([false, true, false, true]);
  });

  it('takes a claim whose answer is lost', async () => {
    const { memory, backend } = backends();
    await backend.initGroup(group, 60);
    backend.faults.fail('claimChord', { moment: 'after' });
    await expect(backend.claimChord('g', 'a')).rejects.toMatchObject(away);
    expect(await memory.claimChord('g', 'b')).toBe('other');
    expect(await backend.claimChord('g', 'a')).toBe('claimed');
  });

  it('refuses every call in an outage, and tells watchers nothing', async () => {
    const { memory, backend } = backends();
    const told: string[] = [];
    backend.watch?.('a', ({ taskUuid }) => told.push(taskUuid));
    backend.watch?.('b', ({ taskUuid }) => told.push(taskUuid));
    backend.faults.outage();
    const calls = [
      () => backend.write([write('x')]),
      () => backend.read(['x']),
      () => backend.purge({ tasks: ['x'] }),
      () => backend.initGroup(group, 60),
      () => backend.readGroup('g'),
      () => backend.renewGroup('g', 60),
      () => backend.claimChord('g', 'a'),
      () => backend.finishChord('g'),
    ];
    for (const call of calls) await expect(call()).rejects.toMatchObject(away);
    await memory.write([write('a')]);
    backend.faults.restore();
    await memory.write([write('b')]);
    expect(told).toEqual(['b']);
    expect(backend.faults.total).toBe(calls.length);
  });

  it('counts calls, and the states that are read', async () => {
    const { backend } = backends();
    await backend.read(['a', 'b', 'c']);
    await backend.read(['a']);
    await backend.readGroup('g');
    expect(backend.statesRead).toBe(4);
    expect(backend.calls).toMatchObject({ read: 2, readGroup: 1, write: 0 });
  });

  it('watches only where its backend does', () => {
    expect(new FaultyBackend(withoutPush(new MemoryBackend())).watch).toBeUndefined();
    expect(withoutPush(new MemoryBackend()).capabilities).toEqual({ storesResults: true });
  });
});
