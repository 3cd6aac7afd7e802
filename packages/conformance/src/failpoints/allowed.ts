// How often a task may run more than it would without the crash: the promises of the design as numbers. Whatever is not
// listed here may not run twice; that everything runs at least as often as without a crash holds in any case.

import { describeFailpoint, type Failpoint, type FailpointName } from './failpoint.ts';

/** The fewest and the most runs more than without a crash. */
export type Extra = readonly [least: number, most: number];

export interface Allowance {
  /** The task whose message was in hand. */
  readonly own: Extra;
  /** What is sent because that task has ended, and what follows from it. */
  readonly later: Extra;
  /** The callback of the chord that it completes or fails, and what follows from it. Absent: `none`. */
  readonly chord?: Extra;
  /** `own` where reading a state takes it away, so that a worker cannot see that a redelivered task is done. */
  readonly blind: Extra;
}

const none: Extra = [0, 0];
const again: Extra = [1, 1];
const perhaps: Extra = [0, 1];

const allowed: Readonly<Record<FailpointName, Allowance>> = {
  // It has not begun.
  'after-take': { own: none, later: none, blind: none },
  'after-state:RECEIVED': { own: none, later: none, blind: none },
  // It has begun and nobody knows how it would have ended.
  'after-state:STARTED': { own: again, later: none, blind: again },
  // How it ended is stored: it does not run again, and what is not sent yet is sent once.
  'after-state:RETRY': { own: none, later: none, blind: again },
  'after-state:SUCCESS': { own: none, later: none, blind: again },
  'after-state:FAILURE': { own: none, later: none, blind: again },
  'after-pending': { own: none, later: none, blind: again },
  'before-publish': { own: none, later: none, blind: again },
  // A message is out whose task has not begun, and its PENDING does not tell: it is sent once more.
  'after-publish': { own: none, later: perhaps, chord: perhaps, blind: again },
  'after-retry-publish': { own: perhaps, later: perhaps, blind: [1, 2] },
  'before-ack': { own: none, later: perhaps, blind: again },
  // As before the ack, where a transport does not confirm it.
  'after-ack': { own: none, later: perhaps, blind: perhaps },
  // What a member of a chord sends by itself is out; the claim, the flag and FAILURE tell what became of the callback.
  'after-claim': { own: none, later: perhaps, blind: again },
  'after-flag': { own: none, later: perhaps, blind: again },
  'after-callback-failure': { own: none, later: perhaps, blind: again },
};

/** An attempt that ended in RETRY: what it sent is the next attempt. */
const afterRetry: Readonly<Partial<Record<FailpointName, Allowance>>> = {
  'before-ack': allowed['after-retry-publish'],
  'after-ack': { own: perhaps, later: perhaps, blind: [0, 2] },
};

/** With all members of a chord in hand: the states of the others may not be stored yet. */
const together: Readonly<Partial<Record<FailpointName, Allowance>>> = {
  'after-state:SUCCESS': { own: perhaps, later: none, blind: perhaps },
  'after-state:FAILURE': { own: perhaps, later: none, blind: perhaps },
};

/** Of several follow-ups, one may be out before the next is stored or published. */
const notTheFirst: Readonly<Partial<Record<FailpointName, Allowance>>> = {
  'after-pending': { own: none, later: perhaps, blind: again },
  'before-publish': { own: none, later: perhaps, blind: again },
};

/** With its task's message in hand, that of the task before it too: it finds out how far what it sent is. */
const unacked: Readonly<Partial<Record<FailpointName, Allowance>>> = {
  'after-take': { own: perhaps, later: perhaps, blind: again },
  'after-state:STARTED': { own: again, later: none, blind: again },
  'after-state:SUCCESS': { own: none, later: none, blind: again },
};

/** The same with another attempt's message for the one before: both find it done, and its follow-ups missing. */
const unackedAttempt: Readonly<Partial<Record<FailpointName, Allowance>>> = {
  'after-state:SUCCESS': { own: none, later: perhaps, blind: again },
};

/**
 * What is allowed at a failpoint. `retried`: the attempt at which it lies ends in RETRY. `blind`: workers cannot see that a redelivered
 * task is done, nor what became of a callback.
 */
export function allowedAt(failpoint: Failpoint, retried: boolean, blind: boolean): Allowance {
  const seeing = seeingAt(failpoint, retried);
  if (!blind) return seeing;
  const { point, task } = failpoint;
  // What was in hand may have been acked, and the callback may have been among it.
  if (task === undefined) return { ...seeing, own: perhaps, chord: [0, 2] };
  return { ...seeing, own: seeing.blind, ...(point === 'after-callback-failure' && { chord: perhaps }) };
}

function seeingAt(failpoint: Failpoint, retried: boolean): Allowance {
  const { point, task, attempt = 1, nth = 1 } = failpoint;
  return (
    (failpoint.unacked && ((attempt > 1 && unackedAttempt[point]) || unacked[point])) ||
    (retried && afterRetry[point]) ||
    (task === undefined && together[point]) ||
    (nth > 1 && notTheFirst[point]) ||
    allowed[point]
  );
}

/** An error's beginning for a task that ran too seldom or too often; undefined when it did not. */
export function wrongRuns(
  task: string,
  runs: number,
  usual: number,
  [least, most]: Extra = none,
  at: Failpoint,
): string | undefined {
  if (runs >= usual + least && runs <= usual + most) return undefined;
  const range = least === most ? `${usual + least}` : `${usual + least} to ${usual + most}`;
  return `Expected task ${task} to run ${range} time(s) when killed ${describeFailpoint(at)}, got ${runs}`;
}
