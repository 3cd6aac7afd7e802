// The null backend: takes everything, keeps nothing.

import { expect, it } from 'vitest';
import type { Backend } from '../../src/backend.ts';
import { NotSupportedError } from '../../src/errors.ts';
import { EagerBroker, MemoryBackend, MemoryBroker, NullBackend } from '../../src/memory/index.ts';

const backend: Backend = new NullBackend();
const meta = { groupUuid: 'g', taskUuids: ['t'], chordTriggered: false, lock: false };

it('stores nothing, and says so', async () => {
  expect(backend.capabilities).toEqual({ storesResults: false });
  const write = { state: { taskUuid: 't', taskName: 'add', state: 'SUCCESS' as const }, expiresInSeconds: 60 };
  expect(await backend.write([write, write])).toEqual([{ status: 'stored' }, { status: 'stored' }]);
  expect(await backend.read(['t', 'u'])).toEqual([undefined, undefined]);
});

it('lets groups start, but not be claimed', async () => {
  await backend.initGroup(meta, 60);
  await backend.renewGroup('g', 60);
  await backend.finishChord('g');
  expect(await backend.readGroup('g')).toBeUndefined();
  await expect(backend.claimChord('g', 't')).rejects.toThrow(NotSupportedError);
  await expect(backend.claimChord('g', 't')).rejects.toThrow(/NullBackend does not support chords/);
});

it('can be purged and closed again and again', async () => {
  await backend.purge({ tasks: ['t'] });
  await backend.close();
  await backend.close();
});

it('is for version 1 of the contract, like its siblings', () => {
  for (const adapter of [new MemoryBroker(), new EagerBroker(), new MemoryBackend(), backend]) {
    expect(adapter.contractVersion).toBe(1);
    expect(adapter.name).toMatch(/^@machinery\/core\/memory /);
  }
});
