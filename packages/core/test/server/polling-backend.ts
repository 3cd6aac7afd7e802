// The memory backend without `watch`, as most stores are, with a note of every read.

import {
  type Backend,
  type BackendCapabilities,
  contractVersion,
  type StateWrite,
  type TaskState,
} from '../../src/index.ts';
import { MemoryBackend } from '../../src/memory/index.ts';
import { Journal } from './setup.ts';

export class PollingBackend implements Backend {
  readonly contractVersion = contractVersion;
  readonly name = 'PollingBackend';
  readonly memory = new MemoryBackend();
  readonly capabilities: BackendCapabilities;
  /** Each read: when, and of what. */
  readonly reads = new Journal<{ readonly at: number; readonly taskUuids: readonly string[] }>();
  /** What reads throw, while there is something. */
  away: Error | undefined;

  constructor(limits: Partial<BackendCapabilities> = {}) {
    this.capabilities = { storesResults: true, ...limits };
  }

  async read(taskUuids: readonly string[]): Promise<(TaskState | undefined)[]> {
    this.reads.add({ at: performance.now(), taskUuids });
    if (this.away !== undefined) throw this.away;
    return this.memory.read(taskUuids);
  }

  /** Ends a task with success. */
  async finish(taskUuid: string, value = 1): Promise<void> {
    await this.put({ taskUuid, taskName: 'add', state: 'SUCCESS', results: [{ type: 'int64', value }] });
  }

  async put(state: TaskState): Promise<void> {
    await this.memory.write([{ state, expiresInSeconds: 60 }]);
  }

  write = (writes: readonly StateWrite[]) => this.memory.write(writes);
  purge = (uuids: Parameters<MemoryBackend['purge']>[0]) => this.memory.purge(uuids);
  initGroup = (...args: Parameters<MemoryBackend['initGroup']>) => this.memory.initGroup(...args);
  readGroup = (groupUuid: string) => this.memory.readGroup(groupUuid);
  renewGroup = (groupUuid: string, expiresInSeconds: number) => this.memory.renewGroup(groupUuid, expiresInSeconds);
  claimChord = (groupUuid: string, memberUuid: string) => this.memory.claimChord(groupUuid, memberUuid);
  finishChord = (groupUuid: string) => this.memory.finishChord(groupUuid);
  close = () => this.memory.close();
}
