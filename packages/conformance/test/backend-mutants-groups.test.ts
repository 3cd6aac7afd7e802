// Backends that break an obligation about expiry, groups or claims. The suite finds every one.

import { setImmediate as turn } from 'node:timers/promises';
import {
  type Backend,
  type ChordClaim,
  type GroupMeta,
  mergeState,
  type StateWrite,
  stored,
  type TaskState,
} from '@machinery/core';
import { describe } from 'vitest';
import { Mutant, type Mutation, testMutations, writing } from './backend-cases.ts';

const expiry: Record<string, Mutation> = {
  'an expired state is read': {
    by: 'is gone after its time, whatever its name',
    backend: class extends Mutant {
      override write(writes: readonly StateWrite[]) {
        return super.write(writes.map((write) => ({ ...write, expiresInSeconds: write.expiresInSeconds + 1 })));
      }
    },
  },
  'a state expires early': {
    by: 'a state that expires: is read until its time has passed',
    backend: class extends Mutant {
      override write(writes: readonly StateWrite[]) {
        return super.write(writes.map((write) => ({ ...write, expiresInSeconds: write.expiresInSeconds - 0.5 })));
      }
    },
  },
  'a batch has one expiry': {
    by: 'each of a batch has an expiry of its own',
    backend: class extends Mutant {
      override write(writes: readonly StateWrite[]) {
        const [{ expiresInSeconds } = { expiresInSeconds: 1 }] = writes;
        return super.write(writes.map((write) => ({ ...write, expiresInSeconds })));
      }
    },
  },
  'PENDING keeps the expiry of what was there': {
    by: 'starts over with PENDING, and is then kept',
    backend: writing((write, before) =>
      before && write.state.state === 'PENDING' ? { ...write, expiresInSeconds: 0.5 } : write,
    ),
  },
  'a late STARTED sets the expiry of a final state': {
    by: 'a final state is kept for as long as it says',
    backend: writing((write, before) =>
      before && mergeState(before, write.state) === before ? { ...write, state: before } : write,
    ),
  },
  'a late STARTED prolongs a final state': {
    by: 'a final state is not kept longer',
    backend: writing((write, before) =>
      before && mergeState(before, write.state) === before ? { ...write, state: before } : write,
    ),
  },
  'an expired state counts for merging': {
    by: 'is forgotten for merging once it has expired',
    backend: class extends Mutant {
      readonly #ever = new Map<string, TaskState>();
      override write(writes: readonly StateWrite[]) {
        return this.writeEach(writes, (write) => {
          const before = this.#ever.get(write.state.taskUuid);
          const merged = mergeState(before, write.state);
          this.#ever.set(merged.taskUuid, merged);
          return merged === before ? Promise.resolve(stored) : write;
        });
      }
    },
  },
  'the first expiry counts': {
    by: 'is kept for as long as the last write says, when that is longer',
    backend: writing((write, before) => (before ? { ...write, expiresInSeconds: 0.9 } : write)),
  },
  'the longest expiry counts': {
    by: 'is kept for as long as the last write says, when that is shorter',
    backend: writing((write, before) => (before ? { ...write, expiresInSeconds: 120 } : write)),
  },
  'the longest expiry of a group counts': {
    by: 'a shorter time of a group that replaces it is what counts',
    backend: class extends Mutant {
      override async initGroup(meta: GroupMeta, expiresInSeconds: number) {
        const isThere = (await super.readGroup(meta.groupUuid)) !== undefined;
        await super.initGroup(meta, isThere ? 120 : expiresInSeconds);
      }
    },
  },
  'a group is read after its time': {
    by: 'a group that expires: is read until its time has passed, and is gone after it',
    backend: class extends Mutant {
      override initGroup(meta: GroupMeta, expiresInSeconds: number) {
        return super.initGroup(meta, expiresInSeconds + 1);
      }
    },
  },
  'a renewal adds to what was there before': {
    by: 'counts from the renewal, not from the beginning',
    backend: class extends Mutant {
      override renewGroup(groupUuid: string, expiresInSeconds: number) {
        return super.renewGroup(groupUuid, expiresInSeconds + 0.4);
      }
    },
  },
  'finishing brings back a group that has expired': {
    by: 'does not come back by renewing or finishing it',
    backend: class extends Mutant {
      readonly #ever = new Map<string, GroupMeta>();
      override async initGroup(meta: GroupMeta, expiresInSeconds: number) {
        this.#ever.set(meta.groupUuid, meta);
        await super.initGroup(meta, expiresInSeconds);
      }
      override async finishChord(groupUuid: string) {
        const meta = this.#ever.get(groupUuid);
        if (meta !== undefined) await super.initGroup({ ...meta, chordTriggered: true }, 60);
      }
    },
  },
  'renewing shortens': {
    by: 'is never kept shorter by renewing it',
    backend: class extends Mutant {
      override renewGroup = this.initAgain;
    },
  },
  'renewing does nothing': {
    by: 'is kept longer by renewing it',
    backend: class extends Mutant {
      override async renewGroup() {}
    },
  },
  'renewing loses the claim': {
    by: 'neither claim nor flag is lost',
    backend: class extends Mutant {
      override async renewGroup(groupUuid: string, expiresInSeconds: number) {
        const meta = await super.readGroup(groupUuid);
        if (meta !== undefined) await super.initGroup(meta, expiresInSeconds);
      }
    },
  },
  'renewing writes an old flag': {
    by: 'neither claim nor flag is lost',
    backend: class extends Mutant {
      override async renewGroup(groupUuid: string, expiresInSeconds: number) {
        const meta = await super.readGroup(groupUuid);
        await turn();
        const owner = this.owners.get(groupUuid);
        if (meta === undefined) return;
        await super.initGroup(meta, expiresInSeconds);
        if (owner !== undefined && !meta.chordTriggered) await super.claimChord(groupUuid, owner);
      }
    },
  },
  'a finished group never expires': {
    by: 'is gone after its time although it was claimed or finished',
    backend: class extends Mutant {
      override async finishChord(groupUuid: string) {
        await super.renewGroup(groupUuid, 1e6);
        await super.finishChord(groupUuid);
      }
    },
  },
  'a claim outlives its group': {
    by: 'can be started again, without the claim and the flag of before',
    backend: class extends Mutant {
      override async initGroup(meta: GroupMeta, expiresInSeconds: number) {
        await super.initGroup(meta, expiresInSeconds);
        const owner = this.owners.get(meta.groupUuid);
        if (owner !== undefined) await super.claimChord(meta.groupUuid, owner);
      }
    },
  },
};

const groups: Record<string, Mutation> = {
  'initGroup keeps the claim': {
    by: 'replaces one of the same UUID',
    backend: expiryMutant('a claim outlives its group'),
  },
  'initGroup keeps the flag': {
    by: 'replaces one of the same UUID',
    backend: class extends Mutant {
      override async initGroup(meta: GroupMeta, expiresInSeconds: number) {
        const before = await super.readGroup(meta.groupUuid);
        await super.initGroup(
          { ...meta, chordTriggered: before?.chordTriggered ?? meta.chordTriggered },
          expiresInSeconds,
        );
      }
    },
  },
  'initGroup keeps the old meta': {
    by: 'replaces one of the same UUID',
    backend: class extends Mutant {
      override async initGroup(meta: GroupMeta, expiresInSeconds: number) {
        if ((await super.readGroup(meta.groupUuid)) === undefined) await super.initGroup(meta, expiresInSeconds);
      }
    },
  },
  'members are sorted': {
    by: 'keeps its members in their order',
    backend: class extends Mutant {
      override initGroup(meta: GroupMeta, expiresInSeconds: number) {
        return super.initGroup({ ...meta, taskUuids: meta.taskUuids.toSorted() }, expiresInSeconds);
      }
    },
  },
  'large groups are cut': {
    by: 'may have 10000 members',
    backend: class extends Mutant {
      override initGroup(meta: GroupMeta, expiresInSeconds: number) {
        return super.initGroup({ ...meta, taskUuids: meta.taskUuids.slice(0, 8_000) }, expiresInSeconds);
      }
    },
  },
  'an empty group is none': {
    by: 'may be empty',
    backend: class extends Mutant {
      override async initGroup(meta: GroupMeta, expiresInSeconds: number) {
        if (meta.taskUuids.length > 0) await super.initGroup(meta, expiresInSeconds);
      }
    },
  },
  'purge leaves groups': {
    by: 'is gone when it is purged',
    backend: class extends Mutant {
      override purge({ tasks = [] }: Parameters<Backend['purge']>[0]) {
        return super.purge({ tasks });
      }
    },
  },
  'finishing a group that is gone rejects': {
    by: 'that is gone is no error',
    fails: /no such group/,
    backend: class extends Mutant {
      override async finishChord(groupUuid: string) {
        if ((await super.readGroup(groupUuid)) === undefined) throw new Error('no such group');
        await super.finishChord(groupUuid);
      }
    },
  },
};

function expiryMutant(name: string): Mutation['backend'] {
  return (expiry[name] as Mutation).backend;
}

const claims: Record<string, Mutation> = {
  'a claim is not atomic': {
    by: 'is given to exactly one of 50',
    backend: class extends Mutant {
      override async claimChord(groupUuid: string, memberUuid: string): Promise<ChordClaim> {
        const meta = await this.readGroup(groupUuid);
        if (meta === undefined) return super.claimChord(groupUuid, memberUuid);
        if (meta.chordTriggered) return 'done';
        const owner = this.owners.get(groupUuid) ?? memberUuid;
        await turn();
        if (owner !== memberUuid) return 'other';
        this.owners.set(groupUuid, memberUuid);
        return 'claimed';
      }
    },
  },
  'everybody gets the claim': {
    by: 'is given to exactly one of 50',
    backend: class extends Mutant {
      override async claimChord(groupUuid: string, memberUuid: string): Promise<ChordClaim> {
        const claim = await super.claimChord(groupUuid, memberUuid);
        return claim === 'other' ? 'claimed' : claim;
      }
    },
  },
  'the claimer does not get it again': {
    by: 'is given again to the member that has it',
    backend: class extends Mutant {
      override async claimChord(groupUuid: string, memberUuid: string): Promise<ChordClaim> {
        const isAgain = this.owners.get(groupUuid) === memberUuid;
        const claim = await super.claimChord(groupUuid, memberUuid);
        return isAgain && claim === 'claimed' ? 'other' : claim;
      }
    },
  },
  'done is forgotten': {
    by: 'is over for everybody once the chord is finished',
    backend: class extends Mutant {
      override async finishChord() {}
    },
  },
  'done is not told to the claimer': {
    by: 'is over for everybody once the chord is finished',
    backend: class extends Mutant {
      override async claimChord(groupUuid: string, memberUuid: string): Promise<ChordClaim> {
        const claim = await super.claimChord(groupUuid, memberUuid);
        return this.owners.get(groupUuid) === memberUuid ? 'claimed' : claim;
      }
    },
  },
  'finishing takes two steps, the claim first': {
    by: 'is not given away while the chord is being finished',
    backend: class extends Mutant {
      override async finishChord(groupUuid: string) {
        const meta = await super.readGroup(groupUuid);
        if (meta !== undefined) await super.initGroup(meta, 60);
        await turn();
        await super.finishChord(groupUuid);
      }
    },
  },
  'the flag of a Go worker is not seen': {
    by: 'nobody gets a group that a Go worker has decided already',
    backend: class extends Mutant {
      override initGroup(meta: GroupMeta, expiresInSeconds: number) {
        return super.initGroup({ ...meta, chordTriggered: false }, expiresInSeconds);
      }
    },
  },
  'claiming writes the flag': {
    by: 'leaves the group as it is',
    backend: class extends Mutant {
      override async readGroup(groupUuid: string) {
        const meta = await super.readGroup(groupUuid);
        return meta && { ...meta, chordTriggered: meta.chordTriggered || this.owners.has(groupUuid) };
      }
    },
  },
  'a group that is gone can be claimed': {
    by: 'on a group that is not there rejects with ERR_MACHINERY_GROUP_EXPIRED',
    backend: class extends Mutant {
      override async claimChord(groupUuid: string, memberUuid: string): Promise<ChordClaim> {
        if ((await super.readGroup(groupUuid)) === undefined) return 'other';
        return super.claimChord(groupUuid, memberUuid);
      }
    },
  },
  'a claim survives purge': {
    by: 'is forgotten when the group is purged',
    backend: expiryMutant('a claim outlives its group'),
  },
};

describe.concurrent('expiry', () => testMutations(expiry));
describe.concurrent('groups', () => testMutations(groups));
describe.concurrent('claims', () => testMutations(claims));
