// States and groups for the tests of backends.

import process from 'node:process';
import type { GroupMeta, StateWrite, TaskState } from '@machinery/core';

/** To the nanosecond, as Go says it. */
export const sampleTime = '2026-11-21T08:00:00.000000005Z';

let last = 0;

export function newUuid(what: 'task' | 'group' = 'task'): string {
  return `${what}_${Date.now()}-${process.pid}-${++last}`;
}

/** A state of the task `add`, kept for a minute; a SUCCESS has a result. */
export function sampleWrite(taskUuid: string, state: TaskState['state'], more: Partial<TaskState> = {}): StateWrite {
  const results = state === 'SUCCESS' ? { results: [{ type: 'int64', value: 2 }] } : {};
  return {
    state: { taskUuid, taskName: 'add', state, createdAt: sampleTime, ...results, ...more },
    expiresInSeconds: 60,
  };
}

export function sampleGroup(taskUuids: readonly string[], more: Partial<GroupMeta> = {}): GroupMeta {
  const groupUuid = newUuid('group');
  return { groupUuid, taskUuids, chordTriggered: false, lock: false, createdAt: sampleTime, ...more };
}
