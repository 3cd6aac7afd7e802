// Groups whose meta or members' states are gone before all have finished: the callback fails instead of never coming.

import assert from 'node:assert/strict';
import type { AsyncResult, ChordResult, Server } from '@machinery/core';
import type { Scene } from './scene.ts';
import { chordOf, task } from './sketch.ts';
import type { WorkflowSuite } from './workflows-under-test.ts';

const sketch = chordOf([task('a'), task('b')], task('z', { onError: [task('e')] }));

const metaGoes = (early: boolean) => async (scene: Scene) => {
  const { sender, result } = await running(scene);
  if (early) await finishFirst(scene, sender, result);
  await sender.backend.purge({ groups: [result.group.groupUuid] });
  if (!early) await finishFirst(scene, sender, result);
  scene.open('b');
  await assertExpired(scene, result);
};

export function testExpiry(suite: WorkflowSuite): void {
  suite.describe('a group that has expired', () => {
    // Of states that are taken with the whole group nobody knows which are missing.
    const memberGoes: Parameters<typeof suite.together>[0] = {
      'fails its callback when its meta goes between its members': metaGoes(true),
      'fails its callback when the state of a member that had finished goes': async (scene) => {
        const { sender, result } = await running(scene);
        await finishFirst(scene, sender, result);
        await sender.backend.purge({ tasks: [result.tasks[0]?.uuid as string] });
        scene.open('b');
        await assertExpired(scene, result);
      },
    };
    suite.together({
      'fails its callback when its meta goes before any member has finished': metaGoes(false),
      ...(suite.takesGroups ? {} : memberGoes),
      'fails its callback when everything has expired while the members ran': async (scene) => {
        const { sender, result } = await running(scene, 1);
        const { groupUuid } = result.group;
        await scene.eventually('the meta to expire', async () => !(await sender.backend.readGroup(groupUuid)));
        scene.open('a');
        if (!suite.takesGroups) await scene.ended(result.callback as AsyncResult);
        scene.open('b');
        await assertExpired(scene, result);
      },
      'is kept for as long after each member as states are': async (scene) => {
        const sentAt = Date.now();
        const passed = (ms: number) => new Promise((resolve) => setTimeout(resolve, sentAt + ms - Date.now()));
        const sender = await scene.server({ resultsExpireInSeconds: 4 });
        const result = await scene.send(sender, sketch);
        scene.gate('b');
        await passed(2_000);
        await scene.worker({ resultsExpireInSeconds: 4 });
        await scene.began('b');
        await scene.ended(result.tasks[0] as AsyncResult);
        await passed(5_000); // the meta would be gone, the states of both members are there
        scene.open('b');
        assert.equal(await scene.within('the chord', result.get()), 'z(a(),b())');
      },
    });
  });
}

async function running(scene: Scene, resultsExpireInSeconds = 60): Promise<{ sender: Server; result: ChordResult }> {
  const sender = await scene.server({ resultsExpireInSeconds });
  scene.gate('a', 'b');
  await scene.worker({ resultsExpireInSeconds: 60 }, { concurrency: 1 });
  await scene.worker({ resultsExpireInSeconds: 60 }, { concurrency: 1 });
  const result = await scene.send(sender, sketch);
  await scene.began('a');
  await scene.began('b');
  return { sender, result };
}

/** Resolves when the worker of the first member has looked for the other and has a free slot again. */
async function finishFirst(scene: Scene, sender: Server, { tasks: [first] }: ChordResult): Promise<void> {
  scene.open('a');
  await scene.ended(first as AsyncResult);
  await scene.ended(await sender.send(scene.task('next')));
}

async function assertExpired(scene: Scene, result: ChordResult): Promise<void> {
  const [text] = await scene.began('e');
  assert.match(text ?? '', /ERR_MACHINERY_GROUP_EXPIRED/);
  const { state, error } = await scene.ended(result.callback as AsyncResult);
  assert.deepEqual({ state, error }, { state: 'FAILURE', error: text });
  await scene.drained();
  // Without a meta nobody can be elected: each of the two workers may have told it.
  const told = scene.log.times('e');
  assert.ok(told === 1 || told === 2, `Expected the error callback to run once or twice, it ran ${told} times`);
  assert.equal(scene.log.times('z'), 0);
}
