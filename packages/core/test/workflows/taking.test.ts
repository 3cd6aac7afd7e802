// Chords on a backend whose states are taken with the whole group, where no real server can be made to do what is needed.

import { expect, it, onTestFinished } from 'vitest';
import type { ChordClaim, StateGroup, StateWrite, TakenGroup } from '../../src/backend.ts';
import { MachineryError } from '../../src/errors.ts';
import { MemoryBackend } from '../../src/memory/memory-backend.ts';
import { MemoryBroker } from '../../src/memory/memory-broker.ts';
import { Server } from '../../src/server.ts';
import { defineTask } from '../../src/task.ts';
import type { TaskState } from '../../src/task-state.ts';
import { int64, rest } from '../../src/task-types.ts';
import { chord, group } from '../../src/workflow.ts';

const same = defineTask('same', { args: [int64], returns: int64 });
const fails = defineTask('fails', { returns: int64, retries: 1, backoff: { delayMs: 0 } });
const sum = defineTask('sum', { args: rest(int64), returns: int64 });

class TakingBackend extends MemoryBackend {
  override readonly capabilities = Object.freeze({ storesResults: true, readConsumes: true, takesGroups: true });
  readonly writes: StateWrite[] = [];
  readonly #states = new Map<string, Map<string, TaskState>>();
  readonly #isTaken = new Set<string>();
  taken = 0;
  released = 0;
  claims = 0;
  /** Called when the states are about to be handed out. */
  onTake: (states: TaskState[]) => void = () => {};
  claim: (() => ChordClaim) | undefined;

  override write(writes: readonly StateWrite[]) {
    this.writes.push(...writes);
    for (const { state, group } of writes) {
      if (group === undefined) continue;
      const states = this.#states.get(group.uuid) ?? new Map();
      this.#states.set(group.uuid, states.set(state.taskUuid, state));
    }
    return super.write(writes);
  }

  async takeGroup({ uuid, taskCount }: StateGroup): Promise<TakenGroup | undefined> {
    const states = [...(this.#states.get(uuid)?.values() ?? [])];
    if (this.#isTaken.has(uuid) || states.length < taskCount) return undefined;
    this.onTake(states);
    this.#isTaken.add(uuid);
    this.taken += 1;
    const release = async () => {
      if (this.#isTaken.delete(uuid)) this.released += 1;
    };
    return { states, inOrder: true, release };
  }

  override async claimChord(groupUuid: string, memberUuid: string): Promise<ChordClaim> {
    this.claims += 1;
    return this.claim?.() ?? super.claimChord(groupUuid, memberUuid);
  }

  override async finishChord(groupUuid: string): Promise<void> {
    this.#states.delete(groupUuid);
    await super.finishChord(groupUuid);
  }
}

async function start() {
  const [backend, broker] = [new TakingBackend(), new MemoryBroker()];
  const errors: string[] = [];
  const logger = { debug() {}, info() {}, warn() {}, error: (text: string) => void errors.push(text) };
  const server = new Server({ broker, backend, defaultQueue: 'q', logger });
  onTestFinished(() => server.close());
  server.handle(same, (_, n) => n);
  server.handle(fails, () => {
    throw new Error('oops');
  });
  server.handle(sum, (_, ...terms) => terms.reduce((a, b) => a + b, 0));
  const worker = server.newWorker('worker', { concurrency: 1 });
  await worker.start();
  return { backend, server, worker, errors };
}

it("says the group of the final states of a chord's members, and of no others", async () => {
  const { backend, server } = await start();
  const good = await server.send(chord([same(1), same(2)], sum.partial()));
  expect(await good.get({ timeoutMs: 5_000 })).toBe(3);
  const bad = await server.send(chord([fails()], sum.partial()));
  await expect(bad.get({ timeoutMs: 5_000 })).rejects.toThrow('oops');
  await (await server.send(group([same(1)]))).get({ timeoutMs: 5_000 });
  const groups = backend.writes.flatMap((write) => (write.group ? [[write.state.state, write.group]] : []));
  expect(groups).toEqual([
    ['SUCCESS', { uuid: good.group.groupUuid, taskCount: 2 }],
    ['SUCCESS', { uuid: good.group.groupUuid, taskCount: 2 }],
    ['FAILURE', { uuid: bad.group.groupUuid, taskCount: 1 }],
  ]);
});

it('fails the callback when the states can never be taken', async () => {
  const { backend, server, errors } = await start();
  backend.onTake = () => {
    throw new MachineryError('ERR_MACHINERY_BACKEND_FAILED', 'no rights');
  };
  const result = await server.send(chord([same(1), same(2)], sum.partial()));
  await expect(result.get({ timeoutMs: 5_000 })).rejects.toThrow('ERR_MACHINERY_BACKEND_FAILED: no rights');
  expect(errors.join()).toContain('no rights');
});

it('leaves a failed callback to the member that has the claim, and looks again until it has decided', async () => {
  const { backend, server, worker } = await start();
  backend.onTake = (states) => void states.push({ taskUuid: 'b', taskName: 'b', state: 'FAILURE', error: 'bad' });
  backend.claim = () => (backend.claims < 3 ? 'other' : 'done');
  const result = await server.send(chord([same(1), same(2)], sum.partial()));
  await expect.poll(() => backend.claims, { timeout: 5_000 }).toBe(3);
  await worker.quit();
  expect([backend.taken, backend.released]).toEqual([3, 3]);
  expect(await result.tasks.at(-1)?.state()).toBeUndefined(); // nothing was sent
});

it('sends the callback when that member has succeeded in the end', async () => {
  const { backend, server } = await start();
  const failure = { taskUuid: 'b', taskName: 'b', state: 'FAILURE', error: 'bad' } as const;
  backend.onTake = (states) => void (backend.taken < 1 && states.splice(0, 1, failure));
  backend.claim = () => 'other';
  const result = await server.send(chord([same(1), same(2)], sum.partial()));
  expect(await result.get({ timeoutMs: 5_000 })).toBe(3);
  expect(backend.taken).toBe(2);
});

it('gives the states back when the worker is told to stop at once', async () => {
  const { backend, server, worker } = await start();
  let stopped: Promise<void> | undefined;
  backend.onTake = () => {
    stopped ??= worker.quit({ timeoutMs: 0 });
  };
  const result = await server.send(chord([same(1), same(2)], sum.partial()));
  await expect.poll(() => backend.released, { timeout: 5_000 }).toBe(1);
  await stopped;
  expect(await result.tasks.at(-1)?.state()).toBeUndefined(); // nothing was sent
  await server.newWorker('next').start();
  expect(await result.get({ timeoutMs: 5_000 })).toBe(3);
});
