// Backends unlike the one in memory pass the suite, too: it relies on nothing but the contract.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type BackendCapabilities,
  failed,
  type GroupMeta,
  MachineryError,
  type StateWrite,
  type TaskState,
} from '@machinery/core';
import { MemoryBackend } from '@machinery/core/memory';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { testBackend } from '../src/backend/index.ts';
import { handlesOn } from './backend-cases.ts';

const runner = { describe, it, before: beforeAll, after: afterAll };

/** Its own name, so that the table of our own adapters does not apply. */
class Variant extends MemoryBackend {
  override readonly name = 'a variant' as MemoryBackend['name'];
}

/** Every call takes a while, on the way there and back; so does the beginning of watching. */
class FarAway extends Variant {
  override async write(writes: readonly StateWrite[]) {
    await away();
    const outcomes = await super.write(writes);
    await away();
    return outcomes;
  }

  override async read(taskUuids: readonly string[]) {
    await away();
    const states = await super.read(taskUuids);
    await away();
    return states;
  }

  override async claimChord(groupUuid: string, memberUuid: string) {
    await away();
    const claim = await super.claimChord(groupUuid, memberUuid);
    await away();
    return claim;
  }

  override async finishChord(groupUuid: string) {
    await away();
    await super.finishChord(groupUuid);
    await away();
  }

  override watch(taskUuid: string, listener: (state: TaskState) => void) {
    let stop: (() => void) | undefined;
    let isStopped = false;
    const call = (state: TaskState) => {
      setTimeout(() => {
        try {
          if (!isStopped) listener(state);
        } catch {} // a watcher's own affair
      }, 5);
    };
    setTimeout(() => {
      if (!isStopped) stop = super.watch(taskUuid, call);
    }, 5);
    return () => {
      isStopped = true;
      stop?.();
    };
  }
}

const away = (): Promise<void> => sleep(Math.random() * 3);

describe('a backend that is far away', () => {
  testBackend(runner, { create: handlesOn(() => new FarAway()), declares: { storesResults: true, push: true } });
});

const consuming: BackendCapabilities = { storesResults: true, push: true, readConsumes: true };

class Consuming extends Variant {
  override readonly capabilities = consuming;

  override async read(taskUuids: readonly string[]) {
    const states = await super.read(taskUuids);
    await super.purge({ tasks: taskUuids });
    return states;
  }
}

describe('a backend whose reads consume', () => {
  testBackend(runner, { create: handlesOn(() => new Consuming()), declares: consuming });
});

const small: BackendCapabilities = { storesResults: true, maxBatch: 2, maxGroupSize: 10, maxStateBytes: 5_000 };

const cannotBeKey = (taskUuid: string) => taskUuid.includes(' ');
const refused = failed(new MachineryError('ERR_MACHINERY_BACKEND_FAILED', 'no spaces in keys'), false);

/** Refuses what is beyond its limits and keys with spaces, counts whole seconds, pushes nothing. */
class Small extends Variant {
  override readonly capabilities = small;
  override readonly watch = undefined as never;

  constructor() {
    super({ maxStateBytes: 5_000 });
  }

  override async write(writes: readonly StateWrite[]) {
    assert.ok(writes.length <= 2, 'a batch that is too large');
    const taken = writes.filter(({ state }) => !cannotBeKey(state.taskUuid));
    const outcomes = await super.write(
      taken.map((write) => ({ ...write, expiresInSeconds: wholeSeconds(write.expiresInSeconds) })),
    );
    return writes.map((write) => outcomes[taken.indexOf(write)] ?? refused);
  }

  override read(taskUuids: readonly string[]) {
    assert.ok(taskUuids.length <= 2, 'a batch that is too large');
    return super.read(taskUuids);
  }

  override initGroup(meta: GroupMeta, expiresInSeconds: number) {
    assert.ok(meta.taskUuids.length <= 10, 'a group that is too large');
    return super.initGroup(meta, wholeSeconds(expiresInSeconds));
  }

  override renewGroup(groupUuid: string, expiresInSeconds: number) {
    return super.renewGroup(groupUuid, wholeSeconds(expiresInSeconds));
  }
}

/** Until the next whole second: never early, up to a second late. */
const wholeSeconds = (seconds: number): number => {
  const now = Date.now() / 1_000;
  return Math.ceil(now + seconds) - now;
};

describe('a backend with narrow limits', () => {
  testBackend(runner, { create: handlesOn(() => new Small()), declares: small, expiryLagMs: 1_000, cannotBeKey });
});
