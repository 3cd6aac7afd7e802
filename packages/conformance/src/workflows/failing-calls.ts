// Random workflows whose workers' calls to broker and backend fail at random, before or after they were carried out, for
// single items or for whole batches. All ends as it should; tasks may run more than once.

import { FaultyBackend, FaultyBroker } from '../faults/index.ts';
import { property, runWorkflow } from './random-workflows.ts';
import type { Scene, ServerPlan } from './scene.ts';
import type { WorkflowSuite } from './workflows-under-test.ts';

/** How likely each call fails. */
const rates = [0.02, 0.05, 0.15];

export function testFailingCalls(suite: WorkflowSuite): void {
  const runs = Math.ceil(suite.runs / 5);
  suite.describe('random workflows with workers whose calls fail at random', () => {
    suite.many(
      `${runs} of them give what they should, and each task runs at least once`,
      () =>
        property(suite, runs, (scene, { sketch }, fleet, seed) => {
          const faulty = new FaultyAdapters(scene, seed);
          const options = { plan: () => faulty.plan(), settle: () => faulty.settle(), extra: true };
          return runWorkflow(scene, sketch, fleet, options);
        }),
      20_000 + runs * 2_000 + 10 * suite.patienceMs,
    );
  });
}

class FaultyAdapters {
  readonly #scene: Scene;
  readonly #adapters: (FaultyBroker | FaultyBackend)[] = [];
  #seed: number;

  constructor(scene: Scene, seed: number) {
    this.#scene = scene;
    this.#seed = seed;
  }

  plan(): ServerPlan {
    const rate = rates[Math.abs(this.#seed) % rates.length] as number;
    const failing = <A extends FaultyBroker | FaultyBackend>(adapter: A): A => {
      adapter.faults.failAtRandom({ rate, seed: this.#seed++ });
      this.#adapters.push(adapter);
      return adapter;
    };
    return {
      broker: (broker) => failing(new FaultyBroker(broker)),
      backend: (backend) => failing(new FaultyBackend(backend)),
    };
  }

  /** Nothing fails any more, and what was published twice has run. */
  async settle(): Promise<void> {
    for (const { faults } of this.#adapters) faults.restore();
    await this.#scene.swept();
  }
}
