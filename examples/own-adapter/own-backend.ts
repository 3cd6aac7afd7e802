// A result backend on a store of one's own. Storing is all it does: what is written when, and what a chord does next, is core's.

import {
  type Backend,
  type ChordClaim,
  contractVersion,
  failed,
  type GroupMeta,
  MachineryError,
  mergeState,
  type Outcome,
  type StateWrite,
  stored,
  type TaskState,
} from '@machinery/core';
import type { Collection } from './collection.ts';

export interface Store {
  readonly tasks: Collection<TaskState>;
  /** With the meta, the member that may send the chord's callback. */
  readonly groups: Collection<{ readonly meta: GroupMeta; readonly claimedBy?: string }>;
}

export class OwnBackend implements Backend {
  readonly contractVersion = contractVersion;
  readonly name = 'own-backend'; // for error messages
  readonly capabilities = { storesResults: true } as const;
  #store: Store | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  // A state that cannot be stored leaves the others alone. `failed(error, true)` would be: try again, the store is away.
  async write(writes: readonly StateWrite[]): Promise<Outcome[]> {
    const write = async ({ state, expiresInSeconds }: StateWrite): Promise<Outcome> => {
      await this.#open.tasks.update(state.taskUuid, (before) => mergeState(before, state), expiresInSeconds);
      return stored;
    };
    return Promise.all(writes.map((one) => write(one).catch((error) => failed(error, false))));
  }

  async read(taskUuids: readonly string[]): Promise<(TaskState | undefined)[]> {
    return Promise.all(taskUuids.map((uuid) => this.#open.tasks.get(uuid)));
  }

  async purge({ tasks = [], groups = [] }: Parameters<Backend['purge']>[0]): Promise<void> {
    await Promise.all(tasks.map((uuid) => this.#open.tasks.delete(uuid)));
    await Promise.all(groups.map((uuid) => this.#open.groups.delete(uuid)));
  }

  // A new document: whoever claimed the chord of an earlier group with this UUID is forgotten.
  async initGroup(meta: GroupMeta, expiresInSeconds: number): Promise<void> {
    await this.#open.groups.update(meta.groupUuid, () => ({ meta }), expiresInSeconds);
  }

  async readGroup(groupUuid: string): Promise<GroupMeta | undefined> {
    return (await this.#open.groups.get(groupUuid))?.meta;
  }

  async renewGroup(groupUuid: string, expiresInSeconds: number): Promise<void> {
    await this.#open.groups.renew(groupUuid, expiresInSeconds);
  }

  // One of all members that ask at once gets it, and gets it again after a crash.
  async claimChord(groupUuid: string, claimant: string): Promise<ChordClaim> {
    let claim: ChordClaim = 'claimed';
    await this.#open.groups.update(groupUuid, (group) => {
      if (group === undefined) throw new MachineryError('ERR_MACHINERY_GROUP_EXPIRED', `Group ${groupUuid} is gone`);
      const { meta, claimedBy = claimant } = group;
      claim = meta.chordTriggered ? 'done' : claimedBy === claimant ? 'claimed' : 'other';
      return claim === 'claimed' ? { meta, claimedBy } : group;
    });
    return claim;
  }

  async finishChord(groupUuid: string): Promise<void> {
    const finished = (meta: GroupMeta) => ({ meta: { ...meta, chordTriggered: true } });
    await this.#open.groups.update(groupUuid, (group) => group && finished(group.meta));
  }

  async close(): Promise<void> {
    this.#store = undefined; // which stays open for who made it
  }

  get #open(): Store {
    if (this.#store === undefined) throw new MachineryError('ERR_MACHINERY_CLOSED', 'The backend is closed');
    return this.#store;
  }
}
