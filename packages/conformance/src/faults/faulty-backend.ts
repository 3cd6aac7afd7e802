// Any result backend, with calls that can be made to fail, and that are counted. For the tests of adapters and of what uses them.

import {
  type Backend,
  type BackendCapabilities,
  type ChordClaim,
  type GroupMeta,
  type Logger,
  MachineryError,
  type Outcome,
  type StateWrite,
  type TakenGroup,
  type TaskState,
} from '@machinery/core';
import { exceptFor, Faults } from './faults.ts';

export type BackendCall =
  | 'write'
  | 'read'
  | 'purge'
  | 'initGroup'
  | 'readGroup'
  | 'renewGroup'
  | 'claimChord'
  | 'finishChord'
  | 'takeGroup';

export class FaultyBackend implements Backend {
  readonly contractVersion: Backend['contractVersion'];
  readonly name: string;
  readonly capabilities: BackendCapabilities;
  /** What fails: see there. While there is an outage, watchers are told nothing. */
  readonly faults = new Faults<BackendCall>(
    ['write', 'read', 'purge', 'initGroup', 'readGroup', 'renewGroup', 'claimChord', 'finishChord', 'takeGroup'],
    (call) => new MachineryError('ERR_MACHINERY_BACKEND_UNAVAILABLE', `The backend is away (${call}), on purpose`),
  );
  /** Answers the outcome of a state that is not to reach the backend; undefined lets it pass. */
  refuse: (write: StateWrite) => Outcome | undefined = () => undefined;
  /** How many states were asked for. */
  statesRead = 0;
  /** How many states were to be stored. */
  statesWritten = 0;
  readonly takeGroup?: NonNullable<Backend['takeGroup']>;
  readonly watch?: (taskUuid: string, listener: (state: TaskState) => void) => () => void;
  readonly #inner: Backend;

  constructor(inner: Backend) {
    this.#inner = inner;
    this.contractVersion = inner.contractVersion;
    this.name = inner.name;
    this.capabilities = inner.capabilities;
    const { takeGroup, watch } = inner;
    if (takeGroup !== undefined)
      this.takeGroup = async (group, again) => {
        let taken: TakenGroup | undefined;
        try {
          return await this.faults.pass('takeGroup', async () => (taken = await takeGroup.call(inner, group, again)));
        } catch (error) {
          await taken?.release(); // as a server does that loses whoever took it
          throw error;
        }
      };
    if (watch !== undefined)
      this.watch = (taskUuid, listener) =>
        watch.call(inner, taskUuid, (state) => {
          if (!this.faults.away.aborted) listener(state);
        });
  }

  get calls(): Readonly<Record<BackendCall, number>> {
    return this.faults.calls;
  }

  attach(environment: { readonly logger: Logger }): void {
    this.#inner.attach?.(environment);
  }

  write(writes: readonly StateWrite[]): Promise<Outcome[]> {
    this.statesWritten += writes.length;
    return this.faults.passBatch('write', writes, (passed) =>
      exceptFor(passed, this.refuse, (accepted) => this.#inner.write(accepted)),
    );
  }

  read(taskUuids: readonly string[]): Promise<(TaskState | undefined)[]> {
    this.statesRead += taskUuids.length;
    return this.faults.pass('read', () => this.#inner.read(taskUuids));
  }

  purge(uuids: Parameters<Backend['purge']>[0]): Promise<void> {
    return this.faults.pass('purge', () => this.#inner.purge(uuids));
  }

  initGroup(meta: GroupMeta, expiresInSeconds: number): Promise<void> {
    return this.faults.pass('initGroup', () => this.#inner.initGroup(meta, expiresInSeconds));
  }

  readGroup(groupUuid: string): Promise<GroupMeta | undefined> {
    return this.faults.pass('readGroup', () => this.#inner.readGroup(groupUuid));
  }

  renewGroup(groupUuid: string, expiresInSeconds: number): Promise<void> {
    return this.faults.pass('renewGroup', () => this.#inner.renewGroup(groupUuid, expiresInSeconds));
  }

  claimChord(groupUuid: string, claimant: string): Promise<ChordClaim> {
    return this.faults.pass('claimChord', () => this.#inner.claimChord(groupUuid, claimant));
  }

  finishChord(groupUuid: string): Promise<void> {
    return this.faults.pass('finishChord', () => this.#inner.finishChord(groupUuid));
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
