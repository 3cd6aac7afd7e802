// Failpoints: a worker is killed at each point of each scenario, and nothing may be lost. For brokers and backends that
// outlive a process; each adapter runs it with `testFailpoints`.

import type { Runner } from '../runner.ts';
import { type CrashOptions, crash } from './crash.ts';
import { describeFailpoint, type Failpoint, type FailpointName } from './failpoint.ts';
import { scenarios } from './scenarios.ts';

export type { AdaptersModule } from './adapters.ts';
export type { Failpoint, FailpointName } from './failpoint.ts';

/** Where a worker's last step was the broker's: for brokers that are tested with a backend that passes all points. */
export const brokerPoints: readonly FailpointName[] = [
  'after-take',
  'after-publish',
  'after-retry-publish',
  'before-ack',
  'after-ack',
];
/** Where it was the backend's: for backends that are tested with a broker that passes all points. */
export const backendPoints: readonly FailpointName[] = [
  'after-state:SUCCESS',
  'after-state:FAILURE',
  'after-pending',
  'after-claim',
  'after-flag',
  'after-callback-failure',
];

export interface FailpointOptions {
  /** Of the broker and the backend under test. */
  readonly name: string;
  /** The file URL of the module that makes them: an AdaptersModule, in JavaScript, as child processes load it. */
  readonly adapters: string;
  /** The longest that what a dead worker had in hand takes to come again, in milliseconds. Default: 0. */
  readonly redeliveryMs?: number;
  /** The longest that each step may take besides, in milliseconds. Default: 10,000. */
  readonly patienceMs?: number;
  /** How many crashes run at once: mostly they wait. Default: 8. */
  readonly concurrency?: number;
  /** Whether workers can complete chords: not where reading a state takes it away and there is no `takeGroup`. Default: true. */
  readonly chords?: boolean;
  /** Only these failpoints, each once a scenario: `brokerPoints` or `backendPoints`, where the other adapter passes all of them. Default: all. */
  readonly points?: readonly FailpointName[];
}

/** Kills a worker at every failpoint of every scenario, and asserts what the next one makes of it. */
export function testFailpoints(runner: Runner, options: FailpointOptions): void {
  const { name, adapters, redeliveryMs = 0, patienceMs = 10_000, concurrency = 8, chords = true, points } = options;
  const crashOptions: CrashOptions = { adapters, redeliveryMs, patienceMs };
  for (const scenario of scenarios.filter(({ chord }) => chords || chord === undefined)) {
    runner.describe(`${name}: ${scenario.name} survives a worker that is killed`, () => {
      const failpoints = points === undefined ? scenario.failpoints : firstOfEach(points, scenario.failpoints);
      const crashes = failpoints.map((failpoint) => () => crash(scenario, failpoint, crashOptions));
      const ahead = new Ahead(crashes, concurrency);
      failpoints.forEach((failpoint, i) => {
        runner.it(describeFailpoint(failpoint), () => ahead.result(i), 2 * redeliveryMs + 6 * patienceMs);
      });
    });
  }
}

/** A scenario has most points several times: in each of its tasks and attempts, where core is what differs. */
function firstOfEach(points: readonly FailpointName[], failpoints: readonly Failpoint[]): Failpoint[] {
  return points.flatMap((name) => failpoints.find(({ point }) => point === name) ?? []);
}

/** Cases run one after another, and mostly wait for processes: those that come next are started early. */
class Ahead {
  readonly #runs: readonly (() => Promise<void>)[];
  readonly #count: number;
  readonly #started: Promise<void>[] = [];

  constructor(runs: readonly (() => Promise<void>)[], count: number) {
    this.#runs = runs;
    this.#count = count;
  }

  result(i: number): Promise<void> {
    for (let next = i; next < Math.min(i + this.#count, this.#runs.length); next++) {
      if (this.#started[next] !== undefined) continue;
      const started = (this.#runs[next] as () => Promise<void>)();
      started.catch(() => {}); // its own case tells
      this.#started[next] = started;
    }
    return this.#started[i] as Promise<void>;
  }
}
