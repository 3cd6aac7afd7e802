// The backend of those who want no results: it takes every state and keeps none. Waiting for a result is refused by
// core, as `storesResults` is false; groups run, chords cannot.

import type { Backend, BackendCapabilities, ChordClaim, StateWrite } from '../backend.ts';
import { type ContractVersion, contractVersion } from '../contract-version.ts';
import { NotSupportedError } from '../errors.ts';
import { type Outcome, stored } from '../outcome.ts';
import type { GroupMeta, TaskState } from '../task-state.ts';

/** A result backend that stores nothing. */
export class NullBackend implements Backend {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/core/memory NullBackend';
  readonly capabilities: BackendCapabilities = Object.freeze({ storesResults: false });

  async write(writes: readonly StateWrite[]): Promise<Outcome[]> {
    return writes.map(() => stored);
  }

  /** Nothing is ever there. */
  async read(taskUuids: readonly string[]): Promise<(TaskState | undefined)[]> {
    return taskUuids.map(() => undefined);
  }

  async purge(): Promise<void> {}

  async initGroup(): Promise<void> {}

  /** Nothing is ever there. */
  async readGroup(): Promise<GroupMeta | undefined> {
    return undefined;
  }

  async renewGroup(): Promise<void> {}

  /** @throws NotSupportedError ERR_MACHINERY_NOT_SUPPORTED always: a chord needs a backend that stores. */
  async claimChord(): Promise<ChordClaim> {
    throw new NotSupportedError(this.name, 'chords: use a result backend that stores states');
  }

  async finishChord(): Promise<void> {}

  async close(): Promise<void> {}
}
