// Random workflows whose workers are told to stop at once, again and again: what they had in hand is delivered to others,
// which complete it. Tasks may run more than once.

import { seededRandom } from '../faults/index.ts';
import { type Fleet, property, runWorkflow } from './random-workflows.ts';
import type { Scene } from './scene.ts';
import type { WorkflowSuite } from './workflows-under-test.ts';

/** How likely a worker is stopped when a task begins. */
const rate = 0.3;
/** After so many, the workflow is left alone. */
const mostStops = 6;

export function testAbortedWorkers(suite: WorkflowSuite): void {
  const runs = Math.ceil(suite.runs / 2);
  suite.describe('random workflows with workers that are told to stop at once', () => {
    suite.many(
      `${runs} of them give what they should, and each task runs at least once`,
      () =>
        property(suite, runs, (scene, { sketch }, fleet, seed) => {
          const settle = stopping(scene, fleet, seed);
          return runWorkflow(scene, sketch, fleet, { settle, extra: true });
        }),
      20_000 + runs * 2_000 + 10 * suite.patienceMs,
    );
  });
}

/** Begins to stop workers at random. Answers what waits until there is nothing left to do. */
function stopping(scene: Scene, { concurrency }: Fleet, seed: number): () => Promise<void> {
  const random = seededRandom(seed);
  const stops: Promise<void>[] = [];
  scene.log.onAdd = () => {
    if (stops.length >= mostStops || random() >= rate) return;
    // Not from within a task, and some turns later: in the middle of what it sets off.
    const stop = turns(Math.floor(random() * 6)).then(() => scene.replaceWorker({ concurrency }));
    stop.catch(() => {}); // told by what waits for all of them
    stops.push(stop);
  };
  return async () => {
    scene.log.onAdd = () => {};
    await Promise.all(stops);
    await scene.swept();
  };
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i <= count; i++) await new Promise((resolve) => setImmediate(resolve));
}
