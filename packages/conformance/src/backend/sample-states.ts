// States and groups to store, and how what is read is compared with them: adapters may read an absent field as its zero
// value, and a time with fewer digits behind its milliseconds, but no value may change.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { Backend, GroupMeta, Outcome, StateName, StateWrite, TaskResult, TaskState } from '@machinery/core';

/** How long what no case waits for is kept, in seconds. */
export const longSeconds = 120;

export const newTaskUuid = (): string => `task_${randomUUID()}`;
export const newGroupUuid = (): string => `group_${randomUUID()}`;

export const sentAt = '2026-11-21T08:00:00.123Z';

/** A state of a task of its own, with what the state has to have. */
export function stateOf(state: StateName, more: Partial<TaskState> = {}): TaskState {
  const own: Partial<TaskState> = state === 'SUCCESS' ? { results: [int64(7)] } : state === 'FAILURE' ? oops : {};
  return { taskUuid: newTaskUuid(), taskName: 'add', state, createdAt: sentAt, ...own, ...more };
}

const oops = { error: 'oops' };

export const int64 = (value: number | bigint): TaskResult => ({ type: 'int64', value });

export function groupOf(taskUuids: readonly string[], more: Partial<GroupMeta> = {}): GroupMeta {
  return {
    groupUuid: newGroupUuid(),
    taskUuids: Object.freeze(taskUuids),
    chordTriggered: false,
    lock: false,
    createdAt: sentAt,
    ...more,
  };
}

export const newTaskUuids = (count: number): string[] => Array.from({ length: count }, newTaskUuid);

/** What is given to a backend stays the caller's: it must not be changed, so it cannot be. */
export function writesOf(states: readonly TaskState[], expiresInSeconds = longSeconds): StateWrite[] {
  return states.map((state) => {
    for (const { value } of state.results ?? []) Object.freeze(value);
    for (const result of state.results ?? []) Object.freeze(result);
    Object.freeze(state.results);
    return Object.freeze({ state: Object.freeze(state), expiresInSeconds });
  });
}

/** Writes states in batches as large as the backend takes, and expects each to be stored. */
export async function store(
  backend: Backend,
  states: readonly TaskState[],
  expiresInSeconds = longSeconds,
): Promise<void> {
  for (const batch of batchesOf(states, backend)) {
    const outcomes = await backend.write(writesOf(batch, expiresInSeconds));
    assert.equal(outcomes.length, batch.length, 'Expected an outcome for each state');
    outcomes.forEach((outcome, i) => void assertStored(outcome, batch[i] as TaskState));
  }
}

export function assertStored(outcome: Outcome | undefined, { state, taskUuid }: TaskState): void {
  if (outcome?.status === 'stored') return;
  assert.fail(`Expected ${state} of ${taskUuid} to be stored, got ${describeOutcome(outcome)}`);
}

export function describeOutcome(outcome: Outcome | undefined): string {
  return outcome === undefined || outcome.status === 'stored'
    ? String(outcome?.status)
    : `${outcome.status}: ${outcome.error}`;
}

export function batchesOf<T>(items: readonly T[], { capabilities }: Backend): T[][] {
  const size = capabilities.maxBatch ?? 1_000;
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

export async function readAll(backend: Backend, taskUuids: readonly string[]): Promise<(TaskState | undefined)[]> {
  const states: (TaskState | undefined)[] = [];
  for (const batch of batchesOf(taskUuids, backend)) {
    const read = await backend.read(batch);
    assert.equal(read.length, batch.length, 'Expected a state or undefined for each UUID');
    states.push(...read);
  }
  return states;
}

export async function readOne(backend: Backend, taskUuid: string): Promise<TaskState | undefined> {
  return (await readAll(backend, [taskUuid]))[0];
}

/** Expects these states to be what is read. */
export async function expectStored(backend: Backend, expected: readonly TaskState[]): Promise<void> {
  const read = await readAll(
    backend,
    expected.map(({ taskUuid }) => taskUuid),
  );
  expected.forEach((state, i) => void assertSameState(read[i], state));
}

export function assertSameState(actual: TaskState | undefined, expected: TaskState, message?: string): void {
  const what = message ?? `What is read of ${expected.taskUuid} differs from what was written`;
  if (actual === undefined) assert.fail(`${what}: nothing was read`);
  assert.deepEqual(comparableState(actual), comparableState(expected), what);
}

export function assertSameGroup(actual: GroupMeta | undefined, expected: GroupMeta): void {
  if (actual === undefined) assert.fail(`Nothing was read of group ${expected.groupUuid}`);
  assert.deepEqual(comparableGroup(actual), comparableGroup(expected));
}

function comparableState(state: TaskState): unknown {
  const { taskUuid, taskName, attempt = 1, retryEta, retryCount } = state;
  return {
    taskUuid,
    taskName,
    state: state.state,
    results: (state.results ?? []).map(({ type, value }) => ({ type, value: comparableValue(value) })),
    error: state.error ?? '',
    createdAt: milliseconds(state.createdAt),
    attempt,
    retryEta: milliseconds(retryEta),
    retryCount,
  };
}

function comparableGroup({ groupUuid, taskUuids, chordTriggered, lock, createdAt }: GroupMeta): unknown {
  return { groupUuid, taskUuids: [...taskUuids], chordTriggered, lock, createdAt: milliseconds(createdAt) };
}

/** A small integer may be a bigint or a number, a null may be absent; -0 is 0, which some stores make of it. */
function comparableValue(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparableValue);
  if (typeof value === 'number') return value === 0 ? 0 : value;
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  return value ?? null;
}

function milliseconds(time: string | undefined): number | undefined {
  return time === undefined ? undefined : Date.parse(time);
}
