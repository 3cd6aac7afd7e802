// What the tests of the suites are made of: a runner that keeps the cases it is given, several handles on one thing that
// lives in this process, as connections are to a server, and backends that break an obligation.

import type { Backend, ChordClaim, Outcome, StateWrite, TaskState } from '@machinery/core';
import { MemoryBackend } from '@machinery/core/memory';
import { expect, it } from 'vitest';
import { testBackend } from '../src/backend/index.ts';
import { overlay } from '../src/overlay.ts';
import { type CollectedCase, casesOf } from './collected-cases.ts';

/** Runs the cases one after another and answers the names of those that fail, with why. */
export async function failuresOf(cases: readonly CollectedCase[]): Promise<Map<string, string>> {
  const failures = new Map<string, string>();
  for (const { name, run } of cases) {
    try {
      await run();
    } catch (error) {
      failures.set(name, String(error));
    }
  }
  return failures;
}

/**
 * Makes handles on one adapter. Closing a handle while others are open leaves the adapter as it is; closing the last one
 * closes the adapter itself, and the next handle is on a new one.
 */
export function handlesOn<T extends { close(): Promise<void> }>(make: () => T): () => T {
  let adapter: T | undefined;
  let openHandles = 0;
  return () => {
    adapter ??= make();
    const shared = adapter;
    openHandles++;
    let isOpen = true;
    const close = async () => {
      if (isOpen && --openHandles === 0) adapter = undefined;
      isOpen = false;
      if (adapter !== shared) await shared.close();
    };
    return overlay(shared, { close } as Partial<T>);
  };
}

export interface Mutation {
  /** The case that has to fail. */
  readonly by: string;
  /** How it fails. Default: an assertion. */
  readonly fails?: RegExp;
  readonly backend: new (options?: { maxStateBytes?: number }) => Backend;
  readonly maxStateBytes?: number;
}

/** What the mutants below are made with. */
export class Mutant extends MemoryBackend {
  readonly owners = new Map<string, string>();

  async now(taskUuid: string): Promise<TaskState | undefined> {
    return (await super.read([taskUuid]))[0];
  }

  /** Writes without merging. */
  async overwrite(write: StateWrite): Promise<Outcome> {
    await super.purge({ tasks: [write.state.taskUuid] });
    return (await super.write([write]))[0] as Outcome;
  }

  /** Each state by itself, as `each` says; by default as it should be. */
  async writeEach(
    writes: readonly StateWrite[],
    each: (write: StateWrite, before: TaskState | undefined) => StateWrite | Promise<Outcome>,
  ): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    for (const write of writes) {
      const changed = await each(write, await this.now(write.state.taskUuid));
      outcomes.push('status' in changed ? changed : ((await super.write([changed]))[0] as Outcome));
    }
    return outcomes;
  }

  override async claimChord(groupUuid: string, memberUuid: string): Promise<ChordClaim> {
    const claim = await super.claimChord(groupUuid, memberUuid);
    if (claim === 'claimed') this.owners.set(groupUuid, memberUuid);
    return claim;
  }

  /** The same meta under a new expiry, with its claim. */
  async initAgain(groupUuid: string, expiresInSeconds: number): Promise<void> {
    const meta = await super.readGroup(groupUuid);
    if (meta === undefined) return;
    await super.initGroup(meta, expiresInSeconds);
    const owner = this.owners.get(groupUuid);
    if (owner !== undefined && !meta.chordTriggered) await super.claimChord(groupUuid, owner);
  }
}

/** Writes what `change` makes of each state. */
export const changing = (change: (state: TaskState) => TaskState) =>
  class extends Mutant {
    override write(writes: readonly StateWrite[]) {
      return super.write(writes.map((write) => ({ ...write, state: change(write.state) })));
    }
  };

/** Results whose values `change` makes. */
export const changingValues = (change: (value: unknown) => unknown) =>
  changing((state) =>
    state.results === undefined
      ? state
      : { ...state, results: state.results.map(({ type, value }) => ({ type, value: change(value) })) },
  );

/** Writes each state in a way of its own, where `each` answers an outcome. */
export const writing = (
  each: (
    write: StateWrite,
    before: TaskState | undefined,
    overwrite: (write: StateWrite) => Promise<Outcome>,
  ) => StateWrite | Promise<Outcome>,
) =>
  class extends Mutant {
    override write(writes: readonly StateWrite[]) {
      return this.writeEach(writes, (write, before) => each(write, before, (it) => this.overwrite(it)));
    }
  };

/** The suite has to find every one of them, by the case that it names. */
export function testMutations(mutations: Readonly<Record<string, Mutation>>): void {
  it.concurrent.each(Object.entries(mutations))(
    '%s',
    async (_, { by, fails = /^AssertionError/, backend, maxStateBytes }) => {
      const limits = maxStateBytes === undefined ? {} : { maxStateBytes };
      const cases = casesOf((runner) =>
        testBackend(runner, {
          create: handlesOn(() => new backend(limits)),
          declares: { storesResults: true, push: true, ...limits },
          limitsByOptions: limits,
          patienceMs: 500,
        }),
      );
      const named = cases.filter(({ name }) => name.includes(by));
      expect(named, by).toHaveLength(1);
      expect([...(await failuresOf(named)).values()]).toEqual([expect.stringMatching(fails)]);
    },
  );
}
