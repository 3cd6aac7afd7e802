// How much work a cell is: the full run, and one for a first look.

export interface Sizes {
  readonly rounds: number;
  /** Of the cells of throughput, memory and commands. */
  readonly tasks: number;
  /** Before them, in the same processes: a process that has run as many is as fast as it gets. */
  readonly warmUp: number;
  /** How often a worker drains the queue in a round. */
  readonly drains: number;
  /** After a third as many that are not counted. */
  readonly pings: number;
  /** How many chords of which size; the median of a round counts. */
  readonly chords: { readonly [size: number]: number };
  /** The first is due after `leadMs`, when all have been sent. */
  readonly delayed: { readonly tasks: number; readonly overMs: number; readonly leadMs: number };
  /** Due in one instant, after `leadMs`. */
  readonly burst: { readonly tasks: number; readonly leadMs: number };
  readonly crash: { readonly tasks: number; readonly taskMs: number };
  readonly idleMs: number;
  /** What takes longer is reported as "more than". */
  readonly limitMs: {
    /** Of a chord's. */
    readonly warmUp: number;
    readonly latency: number;
    readonly chord: number;
    readonly delayed: number;
    readonly crash: number;
    /** Of any request: what takes longer has failed. */
    readonly request: number;
  };
}

export const full: Sizes = {
  rounds: 3,
  tasks: 20_000,
  warmUp: 20_000,
  drains: 3,
  pings: 1_500,
  chords: { 10: 50, 100: 20, 1000: 5, 10000: 3 },
  delayed: { tasks: 2_000, overMs: 4_000, leadMs: 4_000 },
  burst: { tasks: 1_000, leadMs: 3_000 },
  crash: { tasks: 2_000, taskMs: 50 },
  idleMs: 10_000,
  limitMs: { warmUp: 5_000, latency: 30_000, chord: 60_000, delayed: 20_000, crash: 120_000, request: 300_000 },
};

export const quick: Sizes = {
  rounds: 1,
  tasks: 3_000,
  warmUp: 1_000,
  drains: 1,
  pings: 100,
  chords: { 10: 10, 100: 5, 1000: 2, 10000: 1 },
  delayed: { tasks: 500, overMs: 500, leadMs: 500 },
  burst: { tasks: 1_000, leadMs: 3_000 },
  crash: { tasks: 2_000, taskMs: 50 },
  idleMs: 1_000,
  limitMs: { warmUp: 500, latency: 2_000, chord: 2_000, delayed: 500, crash: 22_000, request: 20_000 },
};

/** The same for one that is given a part of the tasks. */
export function sharedOut(sizes: Sizes, share: number): Sizes {
  return { ...sizes, tasks: Math.ceil(sizes.tasks * share), warmUp: Math.ceil(sizes.warmUp * share) };
}
