// The memory backend with a journal of what is stored, and with hooks that may fail or delay a call.

import type { Backend, StateWrite } from '../../src/backend.ts';
import { contractVersion } from '../../src/contract-version.ts';
import { MachineryError } from '../../src/errors.ts';
import { MemoryBackend, type MemoryBackendOptions } from '../../src/memory/memory-backend.ts';
import type { Outcome } from '../../src/outcome.ts';
import { isFinal, type TaskState } from '../../src/task-state.ts';
import { Journal } from './journal.ts';

export const backendAway = () => new MachineryError('ERR_MACHINERY_BACKEND_UNAVAILABLE', 'The backend is away');

type States = (TaskState | undefined)[];

export class FaultyBackend implements Backend {
  readonly contractVersion = contractVersion;
  readonly name = 'FaultyBackend';
  readonly memory: MemoryBackend;
  readonly capabilities;
  /** The states that were stored. */
  readonly written = new Journal<TaskState>();
  readonly calls = { write: 0, read: 0 };

  onWrite: (writes: readonly StateWrite[], next: () => Promise<Outcome[]>) => Promise<Outcome[]> = (_, next) => next();
  onRead: (taskUuids: readonly string[], next: () => Promise<States>) => Promise<States> = (_, next) => next();

  constructor(options: MemoryBackendOptions = {}) {
    this.memory = new MemoryBackend(options);
    this.capabilities = this.memory.capabilities;
  }

  write(writes: readonly StateWrite[]): Promise<Outcome[]> {
    this.calls.write++;
    return this.onWrite(writes, async () => {
      const outcomes = await this.memory.write(writes);
      writes.forEach(({ state }, i) => {
        if (outcomes[i]?.status === 'stored') this.written.add(state);
      });
      return outcomes;
    });
  }

  read(taskUuids: readonly string[]): Promise<States> {
    this.calls.read++;
    return this.onRead(taskUuids, () => this.memory.read(taskUuids));
  }

  /** Fails the next `times` writes of states that match, by rejecting or with an outcome. */
  failWrites(times: number, matches: (state: TaskState) => boolean = () => true, outcome?: Outcome): void {
    this.onWrite = async (writes, next) => {
      if (times <= 0 || !writes.some(({ state }) => matches(state))) return next();
      times--;
      if (outcome === undefined) throw backendAway();
      return writes.map(() => outcome);
    };
  }

  /** Stores a state as another program would. */
  async put(state: TaskState): Promise<void> {
    await this.memory.write([{ state, expiresInSeconds: 3_600 }]);
  }

  async state(taskUuid: string): Promise<TaskState | undefined> {
    return (await this.memory.read([taskUuid]))[0];
  }

  /** The final state of a task, as soon as it is stored by a call that the journal sees. */
  final(taskUuid: string): Promise<TaskState> {
    return this.written.first(({ taskUuid: uuid, state }) => uuid === taskUuid && isFinal(state));
  }

  /** The names of the states that a task went through. */
  statesOf(taskUuid: string): string[] {
    return this.written.items.filter((state) => state.taskUuid === taskUuid).map(({ state }) => state);
  }

  purge = (uuids: Parameters<MemoryBackend['purge']>[0]) => this.memory.purge(uuids);
  initGroup = (...args: Parameters<MemoryBackend['initGroup']>) => this.memory.initGroup(...args);
  readGroup = (groupUuid: string) => this.memory.readGroup(groupUuid);
  renewGroup = (groupUuid: string, expiresInSeconds: number) => this.memory.renewGroup(groupUuid, expiresInSeconds);
  claimChord = (groupUuid: string, memberUuid: string) => this.memory.claimChord(groupUuid, memberUuid);
  finishChord = (groupUuid: string) => this.memory.finishChord(groupUuid);
  watch = (...args: Parameters<MemoryBackend['watch']>) => this.memory.watch(...args);
  close = () => this.memory.close();
}
