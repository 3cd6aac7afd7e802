// Random workflows, against the model: each gives what it should, and each of its tasks runs as often and with what it should.

import assert from 'node:assert/strict';
import { errorText, isFinal, type Server, TaskFailedError, type TaskState, type WorkflowResult } from '@machinery/core';
import fc from 'fast-check';
import { type DrawnWorkflow, workflows } from './arbitrary.ts';
import { type Expected, expectedOf } from './model.ts';
import type { Scene, ServerPlan } from './scene.ts';
import { tasksOf, thrownBy, type WorkflowSketch } from './sketch.ts';
import type { Ran } from './step-log.ts';
import type { WorkflowSuite } from './workflows-under-test.ts';

export interface Fleet {
  readonly workers: number;
  readonly concurrency: number;
  /** The workers are there before anything is sent. */
  readonly early: boolean;
}

const fleets: fc.Arbitrary<Fleet> = fc.record({
  workers: fc.integer({ min: 1, max: 4 }),
  concurrency: fc.integer({ min: 1, max: 10 }),
  early: fc.boolean(),
});

/** How many workflows run beside each other: most of the time is waiting. */
const lanes = 4;

export function testRandomWorkflows(suite: WorkflowSuite): void {
  suite.describe('random workflows', () => {
    suite.many(
      `${suite.runs} of them give what they should, and each task runs exactly once`,
      () => property(suite, suite.runs, (scene, { sketch }, fleet) => runWorkflow(scene, sketch, fleet)),
      5_000 + suite.runs * 200 + 10 * suite.patienceMs,
    );
  });
}

export type CheckWorkflow = (scene: Scene, workflow: DrawnWorkflow, fleet: Fleet, seed: number) => Promise<void>;

/** Draws and checks workflows, and says of the simplest one that fails what it is and why. */
export async function property(suite: WorkflowSuite, runs: number, check: CheckWorkflow): Promise<void> {
  const { chords } = suite;
  let failing = false;
  const lane = async () => {
    const drawn = fc.asyncProperty(workflows({ chords }), fleets, fc.integer(), async (workflow, fleet, seed) => {
      // While a failure is made simpler, nearly all of the time is spent waiting for what will not come.
      const patienceMs = failing ? Math.min(suite.patienceMs, 1_000) : suite.patienceMs;
      try {
        await suite.inScene((scene) => check(scene, workflow, fleet, seed), patienceMs);
      } catch (error) {
        failing = true;
        throw error;
      }
    });
    return fc.check(drawn, {
      numRuns: Math.ceil(runs / lanes),
      interruptAfterTimeLimit: 100 * runs + 4 * suite.patienceMs,
    });
  };
  const details = await Promise.all(Array.from({ length: lanes }, lane));
  const worst = details.find(({ failed }) => failed);
  if (worst === undefined) return;
  const report = (await fc.asyncDefaultReportMessage(worst)) ?? 'A workflow failed';
  throw new assert.AssertionError({ message: `${errorText(worst.errorInstance)}\n${report}` });
}

/** Sends a workflow to a fleet of workers and compares what becomes of it with the model. */
export async function runWorkflow(
  scene: Scene,
  sketch: WorkflowSketch,
  { workers, concurrency, early }: Fleet,
  {
    plan,
    settle = () => scene.quiet(),
    extra = false,
  }: { plan?: () => ServerPlan; settle?: () => Promise<void>; extra?: boolean } = {},
): Promise<void> {
  const expected = expectedOf(sketch);
  const sender = await scene.server();
  const start = () => Promise.all(Array.from({ length: workers }, () => scene.worker(plan?.(), { concurrency })));
  if (early) await start();
  const result: WorkflowResult = await scene.send(sender, sketch);
  if (!early) await start();
  const labels = labelsOf(result, sketch);

  await assertOutcome(scene, result, expected, labels, extra);
  await scene.log
    .until('all tasks to run', () => ranEnough(scene.log.entries, expected), scene.patienceMs)
    .catch((error) => {
      assertRuns(scene.log.entries, expected, labels, extra);
      throw error;
    });
  await settle();
  assertRuns(scene.log.entries, expected, labels, extra);
  const assertAll = () => assertStates(sender, result, expected, labels);
  if (scene.tellsPending || !extra) return assertAll();
  const hold = () =>
    assertAll().then(
      () => true,
      () => false,
    );
  await scene.eventually('the states to be those of the model', hold).catch(assertAll);
}

/** The labels of the workflow's tasks, by UUID: `result.tasks` has them in their order. */
function labelsOf({ tasks }: WorkflowResult, sketch: WorkflowSketch): Map<string, string> {
  const labels = tasksOf(sketch).map(({ label }) => label);
  assert.equal(tasks.length, labels.length, 'Expected a result for each task');
  return new Map(tasks.map(({ uuid }, i) => [uuid, labels[i] as string]));
}

/** @param extra tasks may run again: while the one that failed does so, the error is that of what was to come after it. */
async function assertOutcome(
  scene: Scene,
  result: WorkflowResult,
  { outcome }: Expected,
  labels: ReadonlyMap<string, string>,
  extra: boolean,
): Promise<void> {
  const got = await scene.within('the workflow to give its result', result.get()).then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if (outcome.kind === 'value') {
    assert.deepEqual(got, { value: outcome.value });
    return;
  }
  if ('value' in got)
    assert.fail(`Expected the error of ${outcome.labels.join(' or ')}, got ${JSON.stringify(got.value)}`);
  const { error } = got;
  if (!(error instanceof TaskFailedError)) throw error;
  assert.equal(error.taskName, 'step');
  const label = labels.get(error.taskUuid) ?? 'no task of the workflow';
  const says = (cause: string) => error.error.endsWith(` failed: ${thrownBy(cause)}`);
  if (extra && labels.has(error.taskUuid) && !outcome.labels.includes(label) && outcome.labels.some(says)) return;
  assert.ok(
    outcome.labels.includes(label),
    `Expected the error of ${outcome.labels.join(' or ')}, got that of ${label}: ${error.error}`,
  );
  assert.equal(error.error, thrownBy(label));
}

function ranEnough(entries: readonly Ran[], { runs }: Expected): boolean {
  const counts = countsOf(entries);
  return [...runs].every(([label, { times }]) => (counts.get(label) ?? 0) >= times);
}

function countsOf(entries: readonly Ran[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { label } of entries) counts.set(label, (counts.get(label) ?? 0) + 1);
  return counts;
}

/** @param extra whether tasks may run more often than once. */
function assertRuns(
  entries: readonly Ran[],
  { runs }: Expected,
  labels: ReadonlyMap<string, string>,
  extra: boolean,
): void {
  const counts = countsOf(entries);
  for (const label of counts.keys()) assert.ok(runs.has(label), `Expected ${label} never to run`);
  for (const [label, { times, argLists }] of runs) {
    const count = counts.get(label) ?? 0;
    const enough = extra ? count >= times : count === times;
    assert.ok(enough, `Expected ${label} to run ${extra ? 'at least ' : ''}${times} time(s), got ${count}`);
    const wanted = argLists.map((args) => JSON.stringify(args));
    for (const ran of entries) {
      if (ran.label !== label) continue;
      const got = JSON.stringify(ran.args.map((arg) => named(arg, labels)));
      assert.ok(wanted.includes(got), `Expected ${label} to be called with ${wanted.join(' or ')}, got ${got}`);
    }
  }
}

/** A text with the labels of tasks in place of their UUIDs. */
function named(text: string, labels: ReadonlyMap<string, string>): string {
  return text.replaceAll(/\(((?:task|chord)_[^()]+)\)/g, (whole, uuid: string) => `(${labels.get(uuid) ?? whole})`);
}

async function assertStates(
  { backend }: Server,
  { tasks }: WorkflowResult,
  { successes, failures }: Expected,
  labels: ReadonlyMap<string, string>,
): Promise<void> {
  const { storesResults, readConsumes, maxBatch = 1_000 } = backend.capabilities;
  if (!storesResults || readConsumes === true) return;
  const uuids = tasks.map(({ uuid }) => uuid);
  const states: (TaskState | undefined)[] = [];
  for (let i = 0; i < uuids.length; i += maxBatch) states.push(...(await backend.read(uuids.slice(i, i + maxBatch))));
  uuids.forEach((uuid, i) => {
    const label = labels.get(uuid) as string;
    const [success, failure] = [successes.get(label), failures.get(label)];
    const { state, error = '', results } = states[i] ?? { state: 'PENDING' };
    if (success !== undefined) {
      assert.equal(state, 'SUCCESS', `The state of ${label}`);
      assert.deepEqual(results, [{ type: 'string', value: success[0] }]);
    } else if (failure !== undefined) {
      assert.equal(state, 'FAILURE', `The state of ${label}`);
      assert.ok(
        failure.includes(named(error, labels)),
        `Expected the error of ${label} to be ${failure.join(' or ')}, got ${error}`,
      );
    } else assert.ok(!isFinal(state), `Expected ${label} never to end, got ${state}`);
  });
}
