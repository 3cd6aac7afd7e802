// What `send` answers for a workflow: values, errors and progress, while it runs and after.

import assert from 'node:assert/strict';
import { type AsyncResult, MachineryError, type MachineryErrorCode, TaskFailedError } from '@machinery/core';
import { chainOf, chordOf, groupOf, task, type WorkflowSketch } from './sketch.ts';
import type { WorkflowSuite } from './workflows-under-test.ts';

const fails = { does: 'fail' } as const;

export function testResults(suite: WorkflowSuite): void {
  suite.describe('the result of a workflow', () => {
    suite.it('of a chain is that of its last step, and each step has one of its own', async (scene) => {
      const sender = await scene.server();
      const result = await scene.send(sender, chainOf(task('a'), task('b'), task('c')));
      assert.deepEqual(await result.progress(), { total: 3, done: 0, failed: 0 });
      await scene.worker();
      assert.equal(await scene.within('the chain', result.get()), 'c(b(a()))');
      assert.deepEqual(await Promise.all(result.tasks.map((one) => one.get())), ['a()', 'b(a())', 'c(b(a()))']);
      assert.deepEqual(await result.progress(), { total: 3, done: 3, failed: 0 });
    });

    suite.it('of a chain that fails is the error of the step that failed, and later steps never end', async (scene) => {
      const sender = await scene.server();
      await scene.worker();
      const result = await scene.send(sender, chainOf(task('a'), task('b', fails), task('c')));
      for (let time = 0; time < 2; time++)
        await assertFailure(result.get({ timeoutMs: scene.patienceMs }), result.tasks[1], 'b');
      assert.deepEqual(await result.progress(), { total: 3, done: 2, failed: 1 });
      assert.deepEqual(await result.tasks[2]?.touch(), { done: false });
    });

    suite.it('of a group is a list in its order, and the error of a member that fails ends it', async (scene) => {
      const sender = await scene.server();
      await scene.worker();
      const good = await scene.send(sender, groupOf(task('a', { turns: 9 }), chainOf(task('b'), task('c')), task('d')));
      assert.deepEqual(await scene.within('the group', good.get()), ['a()', 'c(b())', 'd()']);
      const bad = await scene.send(sender, groupOf(task('a'), task('b', fails), task('c')));
      await assertFailure(bad.get({ timeoutMs: scene.patienceMs }), bad.tasks[1], 'b');
      const settled = await bad.settled({ timeoutMs: scene.patienceMs });
      assert.deepEqual(
        settled.map(({ status }) => status),
        ['fulfilled', 'rejected', 'fulfilled'],
      );
      assert.deepEqual(await bad.progress(), { total: 3, done: 3, failed: 1 });
    });

    suite.it('of a chord is that of its callback, or the error of the member that failed', async (scene) => {
      const sender = await scene.server();
      await scene.worker();
      const good = await scene.send(sender, chordOf([task('a'), task('b')], task('c')));
      assert.equal(await scene.within('the chord', good.get()), 'c(a(),b())');
      assert.deepEqual(await good.progress(), { total: 3, done: 3, failed: 0 });
      const bad = await scene.send(sender, chordOf([task('a'), task('b', fails)], task('c')));
      for (let time = 0; time < 2; time++)
        await assertFailure(bad.get({ timeoutMs: scene.patienceMs }), bad.tasks[1], 'b');
      await scene.ended(bad.tasks[2] as AsyncResult);
      await scene.ended(bad.tasks[0] as AsyncResult);
      assert.deepEqual(await bad.progress(), { total: 3, done: 3, failed: 2 });
    });

    suite.it('is the error of the task that failed, and not of one that never ran for it', async (scene) => {
      const sender = await scene.server();
      await scene.worker();
      const sketches: WorkflowSketch[] = [
        groupOf(chainOf(task('a'), task('b', fails), task('c'))),
        chordOf([chainOf(task('a'), task('b', fails), task('c'))], task('d')),
        chainOf(task('a'), task('b', fails), chordOf([task('c')], task('d'))),
        chainOf(chordOf([task('a'), task('b', fails)], task('c')), chordOf([task('d')], task('e'))),
      ];
      for (const sketch of sketches) {
        const result = await scene.send(sender, sketch);
        await scene.ended(result.tasks[1] as AsyncResult);
        // Asked at once, and by one who comes when everything is over.
        await assertFailure(result.get({ timeoutMs: scene.patienceMs }), result.tasks[1], 'b');
        if (sketch.kind !== 'group') await scene.ended(result.tasks.at(-1) as AsyncResult);
        await assertFailure(result.get({ timeoutMs: scene.patienceMs }), result.tasks[1], 'b');
      }
    });

    suite.it(
      'of a chord of which a Go worker ran the member that failed is that error, though the callback is never told',
      async (scene) => {
        const sender = await scene.server();
        const result = await scene.send(sender, chordOf([task('a'), task('b')], task('c')));
        const taskUuid = result.tasks[1]?.uuid as string;
        const state = { taskUuid, taskName: 'step', state: 'FAILURE', error: 'b failed' } as const;
        const waiting = result.get({ timeoutMs: scene.patienceMs });
        await sender.backend.write([{ state, expiresInSeconds: 60 }]);
        await assertFailure(waiting, result.tasks[1], 'b');
      },
    );

    suite.it('is waited for no longer than was asked', async (scene) => {
      const sender = await scene.server();
      const sketches: WorkflowSketch[] = [
        chainOf(task('a'), task('b')),
        groupOf(task('c')),
        chordOf([task('d')], task('e')),
      ];
      for (const sketch of sketches) {
        const result = await scene.send(sender, sketch);
        await assertCode(result.get({ timeoutMs: 10 }), 'ERR_MACHINERY_RESULT_TIMEOUT');
        await assertCode(result.get({ signal: AbortSignal.abort() }), 'ERR_MACHINERY_ABORTED');
        const stop = new AbortController();
        const waiting = result.get({ signal: stop.signal });
        stop.abort();
        await assertCode(waiting, 'ERR_MACHINERY_ABORTED');
      }
    });

    suite.it('of an empty group is an empty list, at once, and an empty chord calls back', async (scene) => {
      const sender = await scene.server();
      const group = await scene.send(sender, groupOf());
      assert.deepEqual(await scene.within('the empty group', group.get()), []);
      assert.deepEqual(await group.progress(), { total: 0, done: 0, failed: 0 });
      const chord = await scene.send(sender, chordOf([], task('a')));
      await scene.worker();
      assert.equal(await scene.within('the empty chord', chord.get()), 'a()');
    });

    suite.it(
      'of a chain that ends in an empty group is there when the steps before it have succeeded, and not when one failed',
      async (scene) => {
        const sender = await scene.server();
        const good = await scene.send(sender, chainOf(task('a'), groupOf()));
        await assertCode(good.get({ timeoutMs: 10 }), 'ERR_MACHINERY_RESULT_TIMEOUT');
        await scene.worker();
        assert.deepEqual(await scene.within('the chain', good.get()), []);
        const bad = await scene.send(sender, chainOf(task('b', fails), groupOf()));
        await assertFailure(bad.get({ timeoutMs: scene.patienceMs }), bad.tasks[0], 'b');
      },
    );

    suite.it(
      'of a chain of 200 steps spells all of them',
      async (scene) => {
        const sender = await scene.server();
        await Promise.all([scene.worker(), scene.worker()]);
        const labels = Array.from({ length: 200 }, (_, i) => `s${i}`);
        const result = await scene.send(sender, chainOf(...labels.map((label) => task(label))));
        const spelt = labels.reduce((before, label) => `${label}(${before})`, '');
        assert.equal(await scene.within('the long chain', result.get(), 5 * scene.patienceMs), spelt);
        assert.equal(scene.log.entries.length, labels.length);
      },
      10_000 + 8 * suite.patienceMs,
    );
  });
}

async function assertFailure(promise: Promise<unknown>, task: AsyncResult | undefined, label: string): Promise<void> {
  const error: unknown = await promise.then(
    (value) => assert.fail(`Expected the error of ${label}, got ${JSON.stringify(value)}`),
    (reason) => reason,
  );
  if (!(error instanceof TaskFailedError)) throw error;
  const { taskName, taskUuid, error: text } = error;
  assert.deepEqual({ taskName, taskUuid, text }, { taskName: 'step', taskUuid: task?.uuid, text: `${label} failed` });
}

export async function assertCode(promise: Promise<unknown>, code: MachineryErrorCode): Promise<void> {
  const error: unknown = await promise.then(
    (value) => assert.fail(`Expected ${code}, got ${JSON.stringify(value)}`),
    (reason) => reason,
  );
  assert.ok(MachineryError.is(error, code), `Expected ${code}, got ${error}`);
}
