// The broker or the backend goes away at the n-th call that a worker makes, for every n, and comes back a little later.

import { FaultyBackend, FaultyBroker, type Moment } from '../faults/index.ts';
import { runWorkflow } from './random-workflows.ts';
import type { Scene } from './scene.ts';
import { chainOf, chordOf, task, type WorkflowSketch } from './sketch.ts';
import type { WorkflowSuite } from './workflows-under-test.ts';

const sketches: Readonly<Record<string, WorkflowSketch>> = {
  'a chain of three tasks': chainOf(task('a'), task('b'), task('c')),
  'a chord of three members, whose callback has one of its own': chordOf(
    [task('a'), task('b'), task('c')],
    task('d', { onSuccess: [task('e')] }),
  ),
  'a chord of three members of which one fails': chordOf(
    [task('a'), task('b', { does: 'fail', onError: [task('e')] }), task('c')],
    task('d', { onError: [task('f')] }),
  ),
};

/** How long an outage lasts after the first call that it refused, in milliseconds. */
const outageMs = 20;
/** How many workflows run beside each other. */
const atOnce = 16;

const servers = ['broker', 'backend'] as const;
type ServerName = (typeof servers)[number];

export function testOutages(suite: WorkflowSuite): void {
  suite.describe('a server that goes away at any call of a worker', () => {
    for (const [name, sketch] of Object.entries(sketches)) {
      if (!suite.chords && name.includes('chord')) continue;
      for (const server of servers) {
        suite.many(
          `${name} ends as it should: ${server}`,
          () => atEveryCall(suite, sketch, server),
          60_000 + 20 * suite.patienceMs,
        );
      }
    }
  });
}

async function atEveryCall(suite: WorkflowSuite, sketch: WorkflowSketch, server: ServerName): Promise<void> {
  let calls = 0;
  await suite.inScene(async (scene) => {
    const adapters = await run(scene, sketch);
    calls = adapters[server].faults.total;
  });
  const moments = Array.from({ length: calls }, (_, i) => i + 1).flatMap((nth) =>
    (['before', 'after'] satisfies Moment[]).map((moment) => ({ nth, moment })),
  );
  const lane = async () => {
    for (let next = moments.shift(); next !== undefined; next = moments.shift()) {
      const { nth, moment } = next;
      await suite
        .inScene((scene) => run(scene, sketch, { server, nth, moment }).then(() => {}))
        .catch((cause) => {
          throw new Error(`The ${server} went away ${moment} call ${nth} of ${calls}: ${(cause as Error).message}`, {
            cause,
          });
        });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
}

interface PlannedOutage {
  readonly server: ServerName;
  readonly nth: number;
  readonly moment: Moment;
}

async function run(
  scene: Scene,
  sketch: WorkflowSketch,
  outage?: PlannedOutage,
): Promise<{ broker: FaultyBroker; backend: FaultyBackend }> {
  const made: Partial<{ broker: FaultyBroker; backend: FaultyBackend }> = {};
  const begin = () => {
    if (outage === undefined) return;
    const { server, nth, moment } = outage;
    const faults = made[server]?.faults;
    const onBegin = () => void setTimeout(() => faults?.restore(), outageMs);
    faults?.outageAt({ nth, moment, onBegin });
  };
  const plan = () => ({
    broker: (broker: ConstructorParameters<typeof FaultyBroker>[0]) => (made.broker = new FaultyBroker(broker)),
    backend: (backend: ConstructorParameters<typeof FaultyBackend>[0]) => {
      made.backend = new FaultyBackend(backend);
      begin();
      return made.backend;
    },
  });
  await runWorkflow(
    scene,
    sketch,
    { workers: 1, concurrency: 2, early: false },
    { plan, extra: true, settle: () => scene.swept() },
  );
  return made as { broker: FaultyBroker; backend: FaultyBackend };
}
