// The points at which a worker can be killed. They lie where core calls its adapters, so core has no hooks for them:
// `failing-adapters.ts` finds them, `scenarios.ts` says which of them a workflow passes, `allowed.ts` what may run twice.

/** A point in the life of a message, as its worker's adapters see it. */
export type FailpointName =
  /** The consumer has handed the message out; the worker does not know it yet. */
  | 'after-take'
  /** RECEIVED is stored; the handler has not been called. */
  | 'after-state:RECEIVED'
  /** STARTED is stored; the handler runs. */
  | 'after-state:STARTED'
  /** RETRY is stored; the next attempt is not published. */
  | 'after-state:RETRY'
  /** SUCCESS is stored; nothing that follows is sent. */
  | 'after-state:SUCCESS'
  /** FAILURE is stored; nothing that follows is sent. */
  | 'after-state:FAILURE'
  /** PENDING of a follow-up is stored; its message is not published. */
  | 'after-pending'
  /** A follow-up is about to be published. */
  | 'before-publish'
  /** A follow-up is published; nothing that comes after it in the batch is. */
  | 'after-publish'
  /** The next attempt is published; the message of this one is not acked. */
  | 'after-retry-publish'
  /** The member has claimed its chord, or taken its states; the callback is not sent. */
  | 'after-claim'
  /** The chord is marked as finished; the member's message is not acked. */
  | 'after-flag'
  /** FAILURE of a chord's callback, which will never be sent, is stored. */
  | 'after-callback-failure'
  /** The message is about to be acked. */
  | 'before-ack'
  /** The message is acked, as far as the transport can tell. */
  | 'after-ack';

/** Where a worker is killed. */
export interface Failpoint {
  readonly point: FailpointName;
  /**
   * Whose message the worker has in hand. It takes that message when all that it took before is acked, and nothing
   * after it, so that what may run twice is exactly known. Absent: the worker has whatever was sent in hand, at once.
   */
  readonly task?: string;
  /** What the worker took before it has ended too, but is not acked: it all comes again. Default: false. */
  readonly unacked?: boolean;
  /** The how manieth message of `task` it is that the worker takes. Default: 1. */
  readonly attempt?: number;
  /** At the how manieth time that the point is passed with the message in hand. Default: 1. */
  readonly nth?: number;
}

/** As it reads in a test's name: `after-publish (2) of work`. */
export function describeFailpoint({ point, task, unacked, attempt = 1, nth = 1 }: Failpoint): string {
  return [
    point,
    ...(nth > 1 ? [`(${nth})`] : []),
    task === undefined ? 'with all members in hand' : `of ${task}`,
    ...(attempt > 1 ? [`in attempt ${attempt}`] : []),
    ...(unacked ? ['with nothing acked'] : []),
  ].join(' ');
}
