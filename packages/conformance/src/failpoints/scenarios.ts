// The workflows in which a worker is killed, as data: parent and child read the same. Every task answers with its name
// and its arguments, `second(first())`, so that the last result shows what was passed on and in which order.

import { randomUUID } from 'node:crypto';
import { currentTask, RetryLater, type Server, type Signature } from '@machinery/core';
import type { Failpoint, FailpointName } from './failpoint.ts';

export interface Plan {
  /** Default: it succeeds. */
  readonly does?: 'fail' | 'fail once' | 'run later once';
  readonly onSuccess?: readonly string[];
  readonly onError?: readonly string[];
  /** How often it runs when nothing crashes. Default: 1. */
  readonly runs?: number;
  /** How it must end: with SUCCESS and this result, or with FAILURE and this error, or not at all: it is never sent. */
  readonly ends: { readonly result: string | RegExp } | { readonly error: RegExp } | undefined;
}

export interface Scenario {
  readonly name: string;
  readonly tasks: Readonly<Record<string, Plan>>;
  /** What the parent sends. */
  readonly sent: readonly string[];
  /** The members are sent by the parent or by a task before them. */
  readonly chord?: { readonly members: readonly string[]; readonly callback: string };
  readonly failpoints: readonly Failpoint[];
}

const began = ['after-take', 'after-state:STARTED'] as const;
const acked = ['before-ack', 'after-ack'] as const;
const sentOn = ['after-pending', 'before-publish', 'after-publish'] as const;

/** With the messages before it in hand. */
function unacked(task: string, ...points: readonly FailpointName[]): Failpoint[] {
  return at(task, ...points).map((failpoint) => ({ ...failpoint, unacked: true }));
}

function at(task: string, ...points: readonly FailpointName[]): Failpoint[] {
  return points.map((point) => ({ point, task }));
}

const failedMember = /^Task second .+ failed: second failed$/;

export const scenarios: readonly Scenario[] = [
  {
    name: 'a task',
    tasks: {
      work: { onSuccess: ['left', 'right'], ends: { result: 'work()' } },
      left: { ends: { result: 'left(work())' } },
      right: { ends: { result: 'right(work())' } },
    },
    sent: ['work'],
    failpoints: [
      ...at('work', ...began, 'after-state:RECEIVED', 'after-state:SUCCESS', ...sentOn, ...acked),
      ...at('work', ...sentOn).map((failpoint) => ({ ...failpoint, nth: 2 })),
    ],
  },
  {
    name: 'a task that fails',
    tasks: {
      work: { does: 'fail', onError: ['sorry'], ends: { error: /^work failed$/ } },
      sorry: { ends: { result: 'sorry(work failed)' } },
    },
    sent: ['work'],
    failpoints: [
      ...at('work', ...began, 'after-state:FAILURE', ...sentOn, ...acked),
      ...unacked('sorry', ...began, 'after-state:SUCCESS'),
    ],
  },
  {
    name: 'a chain',
    tasks: {
      first: { onSuccess: ['second'], ends: { result: 'first()' } },
      second: { onSuccess: ['third'], ends: { result: 'second(first())' } },
      third: { ends: { result: 'third(second(first()))' } },
    },
    sent: ['first'],
    failpoints: [
      ...at('first', ...began, 'after-state:SUCCESS', ...sentOn, ...acked),
      ...at('second', ...began, 'after-state:SUCCESS', ...sentOn, ...acked),
      ...at('third', ...began, 'after-state:SUCCESS', ...acked),
      ...unacked('second', ...began, 'after-state:SUCCESS'),
    ],
  },
  {
    name: 'a chord',
    tasks: {
      first: { ends: { result: 'first()' } },
      second: { ends: { result: 'second()' } },
      third: { ends: { result: 'third()' } },
      callback: { onSuccess: ['after'], ends: { result: 'callback(first(),second(),third())' } },
      after: { ends: { result: 'after(callback(first(),second(),third()))' } },
    },
    sent: ['first', 'second', 'third'],
    chord: { members: ['first', 'second', 'third'], callback: 'callback' },
    failpoints: [
      ...at('first', ...began, 'after-state:SUCCESS', ...acked),
      ...at('third', ...began, 'after-state:SUCCESS', 'after-claim', ...sentOn, 'after-flag', ...acked),
      ...at('callback', ...began, 'after-state:SUCCESS', ...sentOn, ...acked),
      ...unacked('callback', ...began, 'after-state:SUCCESS'),
      { point: 'after-state:SUCCESS' },
      { point: 'after-state:SUCCESS', nth: 3 },
      { point: 'after-claim' },
      { point: 'after-publish' },
      { point: 'after-flag' },
    ],
  },
  {
    name: 'a chord with a member that fails',
    tasks: {
      first: { ends: { result: 'first()' } },
      second: { does: 'fail', onError: ['sorry'], ends: { error: /^second failed$/ } },
      third: { ends: { result: 'third()' } },
      callback: { runs: 0, onSuccess: ['after'], onError: ['told'], ends: { error: failedMember } },
      sorry: { ends: { result: 'sorry(second failed)' } },
      told: { ends: { result: /^told\(Task second .+ failed: second failed\)$/ } },
      after: { runs: 0, ends: undefined },
    },
    sent: ['first', 'second', 'third'],
    chord: { members: ['first', 'second', 'third'], callback: 'callback' },
    failpoints: [
      ...at(
        'second',
        ...began,
        'after-state:FAILURE',
        ...sentOn,
        'after-claim',
        'after-callback-failure',
        'after-flag',
      ),
      ...at('second', ...acked),
      ...at('second', ...sentOn).map((failpoint) => ({ ...failpoint, nth: 2 })),
      ...at('third', 'after-take', 'after-state:SUCCESS', ...acked),
      { point: 'after-state:FAILURE' },
      { point: 'after-claim' },
      { point: 'after-callback-failure' },
      { point: 'after-flag' },
    ],
  },
  {
    name: 'a chain into a chord',
    tasks: {
      start: { onSuccess: ['left', 'right'], ends: { result: 'start()' } },
      left: { ends: { result: 'left(start())' } },
      right: { ends: { result: 'right(start())' } },
      callback: { ends: { result: 'callback(left(start()),right(start()))' } },
    },
    sent: ['start'],
    chord: { members: ['left', 'right'], callback: 'callback' },
    failpoints: [
      ...at('start', ...began, 'after-state:SUCCESS', ...sentOn, ...acked),
      ...at('start', ...sentOn).map((failpoint) => ({ ...failpoint, nth: 2 })),
      ...at('right', ...began, 'after-state:SUCCESS', 'after-claim', ...sentOn, 'after-flag', ...acked),
    ],
  },
  {
    name: 'a task that is tried again',
    tasks: {
      work: { does: 'fail once', runs: 2, onSuccess: ['after'], ends: { result: 'work()' } },
      after: { ends: { result: 'after(work())' } },
    },
    sent: ['work'],
    failpoints: [
      ...at('work', ...began, 'after-state:RETRY', 'after-retry-publish', ...acked),
      ...at('work', ...began, 'after-state:SUCCESS', ...sentOn, ...acked).map((it) => ({ ...it, attempt: 2 })),
      ...unacked('work', ...began, 'after-state:SUCCESS').map((it) => ({ ...it, attempt: 2 })),
    ],
  },
  {
    name: 'a task that asks to run later',
    tasks: { work: { does: 'run later once', runs: 2, ends: { result: 'work()' } } },
    sent: ['work'],
    failpoints: [
      ...at('work', 'after-state:RETRY', 'after-retry-publish', ...acked),
      { point: 'after-state:SUCCESS', task: 'work', attempt: 2 },
    ],
  },
];

/** How long a task waits for its next attempt. */
const delayMs = 20;

/** What tasks do, apart from telling that they run. */
export function perform({ does }: Plan, name: string, args: readonly unknown[]): string {
  const isFirst = currentTask()?.attempt === 1;
  if (does === 'run later once' && isFirst) throw new RetryLater(delayMs);
  if (does === 'fail' || (does === 'fail once' && isFirst)) throw new Error(`${name} failed`);
  return `${name}(${args.join(',')})`;
}

/** The tasks that a task and its callbacks send, and the callback of a chord whose members are among them. */
export function laterThan({ tasks, chord }: Scenario, name: string): Set<string> {
  const later = new Set<string>();
  const add = (names: readonly string[] = []) => {
    for (const it of names) {
      later.add(it);
      add(tasks[it]?.onSuccess);
      add(tasks[it]?.onError);
      if (chord?.members.includes(it)) add([chord.callback]);
    }
  };
  add(tasks[name]?.onSuccess);
  add(tasks[name]?.onError);
  return later;
}

/** Sends the workflow; answers the UUID of each task by its name. */
export async function sendScenario(server: Server, { tasks, sent, chord }: Scenario): Promise<Map<string, string>> {
  const uuids = new Map(Object.keys(tasks).map((name) => [name, `task_${randomUUID()}`]));
  const groupUuid = `group_${randomUUID()}`;
  const sign = (name: string): Signature => ({
    name,
    uuid: uuids.get(name) as string,
    onSuccess: tasks[name]?.onSuccess?.map(sign) ?? [],
    onError: tasks[name]?.onError?.map(sign) ?? [],
    ...(chord?.members.includes(name) && {
      groupUuid,
      groupTaskCount: chord.members.length,
      chordCallback: sign(chord.callback),
    }),
  });
  if (chord !== undefined && sent.every((name) => chord.members.includes(name))) {
    const taskUuids = sent.map((name) => uuids.get(name) as string);
    const createdAt = new Date().toISOString();
    await server.backend.initGroup({ groupUuid, taskUuids, chordTriggered: false, lock: false, createdAt }, 3_600);
  }
  for (const name of sent) {
    const retried = tasks[name]?.does === 'fail once';
    await server.send(sign(name), retried ? { retries: 1, backoff: { delayMs } } : {});
  }
  return uuids;
}
