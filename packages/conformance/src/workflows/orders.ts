// Members of groups that finish in any order and at once, and groups that are sent again: the callback comes once, with
// the results in the group's order.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import {
  type AsyncResult,
  encodeSignature,
  type Outcome,
  type Server,
  type Signature,
  type TaskState,
} from '@machinery/core';
import { FaultyBroker, seededRandom } from '../faults/index.ts';
import { overlay } from '../overlay.ts';
import type { Scene, ServerPlan } from './scene.ts';
import { chordOf, groupOf, task } from './sketch.ts';
import type { WorkflowSuite } from './workflows-under-test.ts';

const orders: Readonly<Record<string, (labels: readonly string[]) => readonly string[]>> = {
  'their order': (labels) => labels,
  'reverse order': (labels) => labels.toReversed(),
  'a random order': (labels) => shuffled(labels, 7),
};

export function shuffled<T>(items: readonly T[], seed: number): T[] {
  const random = seededRandom(seed);
  return items
    .map((item) => ({ item, place: random() }))
    .toSorted((a, b) => a.place - b.place)
    .map(({ item }) => item);
}

export function testOrders(suite: WorkflowSuite): void {
  suite.describe('the members of a group', () => {
    for (const [name, order] of Object.entries(orders)) {
      suite.it(`call back once, with results in the group's order, when they finish in ${name}`, async (scene) => {
        const labels = ['a', 'b', 'c', 'd', 'e', 'f'];
        const sender = await scene.server();
        scene.gate(...labels);
        await Promise.all([scene.worker({}, { concurrency: 6 }), scene.worker({}, { concurrency: 6 })]);
        const result = await scene.send(
          sender,
          chordOf(
            labels.map((label) => task(label)),
            task('z'),
          ),
        );
        for (const label of labels) await scene.began(label);
        for (const label of order(labels)) {
          assert.equal(scene.log.times('z'), 0, `The callback came before ${label} had ended`);
          scene.open(label);
          await scene.ended(result.tasks[labels.indexOf(label)] as AsyncResult);
        }
        assert.equal(await scene.within('the chord', result.get()), 'z(a(),b(),c(),d(),e(),f())');
        assert.deepEqual(
          await scene.within('the group', result.group.get()),
          labels.map((label) => `${label}()`),
        );
        await scene.quiet();
        assert.equal(scene.log.times('z'), 1);
      });
    }

    suite.it('of two groups at once are told apart', async (scene) => {
      const sender = await scene.server();
      scene.gate('a', 'b', 'c', 'd');
      await scene.worker({}, { concurrency: 10 });
      const one = await scene.send(sender, chordOf([task('a'), task('b')], task('y')));
      const two = await scene.send(sender, chordOf([task('c'), task('d')], task('z')));
      const plain = await scene.send(sender, groupOf(task('e'), task('f')));
      for (const label of ['a', 'b', 'c', 'd']) await scene.began(label);
      scene.open('a', 'd');
      await scene.ended(one.tasks[0] as AsyncResult);
      await scene.ended(two.tasks[1] as AsyncResult);
      scene.open('b', 'c');
      assert.equal(await scene.within('the first chord', one.get()), 'y(a(),b())');
      assert.equal(await scene.within('the second chord', two.get()), 'z(c(),d())');
      assert.deepEqual(await scene.within('the group', plain.get()), ['e()', 'f()']);
      await scene.quiet();
      assert.deepEqual([scene.log.times('y'), scene.log.times('z')], [1, 1]);
    });

    suite.it(
      'run again, and call back again, when the group is sent again under its UUIDs, to the same worker',
      async (scene) => {
        const sender = await scene.server();
        await scene.worker();
        const groupUuid = `group_${randomUUID()}`;
        const members = ['a', 'b', 'c'].map((label) => scene.task(label));
        for (let round = 1; round <= 3; round++) {
          await sendAsGo(sender, scene, groupUuid, members, scene.task('z'));
          await scene.log.until(`round ${round}`, () => scene.log.times('z') === round, scene.patienceMs);
          for (const { uuid } of members) await scene.ended(sender.result(uuid));
          await decided(scene, sender, groupUuid);
        }
        await scene.quiet();
        for (const label of ['a', 'b', 'c', 'z']) assert.equal(scene.log.times(label), 3, label);
        for (const { label, args } of scene.log.entries)
          if (label === 'z') assert.deepEqual(args, ['z', 'a()', 'b()', 'c()']);
      },
    );

    suite.it('are all waited for when the group is sent again, whatever is left of the first time', async (scene) => {
      const sender = await scene.server();
      await Promise.all(Array.from({ length: 3 }, () => scene.worker({}, { concurrency: 1 })));
      const groupUuid = `group_${randomUUID()}`;
      const members = ['a', 'b', 'c'].map((label) => scene.task(label));
      const uuids = members.map(({ uuid }) => uuid);
      for (let round = 1; round <= 3; round++) {
        scene.gate('c');
        const createdAt = await sendAsGo(sender, scene, groupUuid, members, scene.task('z'));
        const succeeded = (state: TaskState | undefined) =>
          state?.state === 'SUCCESS' && Date.parse(state.createdAt ?? '') === Date.parse(createdAt);
        await scene.eventually('a and b to succeed again', async () =>
          (await sender.backend.read(uuids.slice(0, 2))).every(succeeded),
        );
        await scene.log.until('c to begin', () => scene.log.times('c') === round, scene.patienceMs);
        assert.equal(scene.log.times('z'), round - 1, 'The callback came before c had ended');
        scene.open('c');
        await scene.log.until(`round ${round}`, () => scene.log.times('z') === round, scene.patienceMs);
        await scene.eventually('c to succeed', async () =>
          (await sender.backend.read(uuids.slice(2))).every(succeeded),
        );
        await decided(scene, sender, groupUuid);
      }
      await scene.quiet();
      for (const label of ['a', 'b', 'c', 'z']) assert.equal(scene.log.times(label), 3, label);
    });

    suite.it('call back once when 50 of them finish at once on 50 workers', async (scene) => {
      const labels = Array.from({ length: 50 }, (_, i) => `m${i}`);
      const sender = await scene.server();
      scene.gate(...labels);
      await Promise.all(labels.map(() => scene.worker({}, { concurrency: 1 })));
      const result = await scene.send(
        sender,
        chordOf(
          labels.map((label) => task(label)),
          task('z'),
        ),
      );
      for (const label of labels) await scene.began(label);
      scene.open(...labels);
      assert.equal(
        await scene.within('the chord', result.get()),
        `z(${labels.map((label) => `${label}()`).join(',')})`,
      );
      await scene.quiet();
      assert.equal(scene.log.times('z'), 1);
      assert.equal(scene.log.entries.length, 51);
    });

    suite.it('leave their group marked as decided, so that Go workers do not call back', async (scene) => {
      const sender = await scene.server();
      await scene.worker();
      const decided = async (groupUuid: string) => (await sender.backend.readGroup(groupUuid))?.chordTriggered;
      scene.gate('a');
      const good = await scene.send(sender, chordOf([task('a'), task('b')], task('z')));
      const bad = await scene.send(sender, chordOf([task('c', { does: 'fail' }), task('d')], task('y')));
      await scene.began('a');
      assert.equal(await decided(good.group.groupUuid), false);
      scene.open('a');
      await scene.within('the chord', good.get());
      await scene.ended(bad.callback as AsyncResult);
      await scene.quiet();
      assert.equal(await decided(good.group.groupUuid), true);
      assert.equal(await decided(bad.group.groupUuid), true);
    });

    suite.it(
      'call back once when an attempt that failed is let go while the next one calls back elsewhere',
      async (scene) => {
        const sender = await scene.server();
        scene.gate('b', 'retried', 'calling back');
        const first = await scene.worker(
          publishing(async (publish) => {
            const outcomes = await publish();
            await scene.opened('retried');
            return outcomes;
          }),
          { concurrency: 2 },
        );
        const result = await scene.send(sender, chordOf([task('a'), task('b', { does: 'fail once' })], task('z')));
        await scene.ended(result.tasks[0] as AsyncResult); // and leaves it to b to look
        await scene.began('b');
        first.pause();
        let callsBack = false;
        await scene.worker(
          publishing(async (publish) => {
            callsBack = true;
            await scene.opened('calling back');
            return publish();
          }),
        );
        scene.open('b');
        await scene.eventually('the second worker to call back', async () => callsBack);
        scene.open('retried');
        await scene.within('the first worker to stop', first.quit());
        scene.open('calling back');
        assert.equal(await scene.within('the chord', result.get()), 'z(a(),b())');
        await scene.quiet();
        assert.equal(scene.log.times('z'), 1);
      },
    );

    suite.it('do not call back again when the message of the last one comes again', async (scene) => {
      const sender = await scene.server();
      scene.gate('b');
      let broker: FaultyBroker | undefined;
      const first = await scene.worker({ broker: (inner) => (broker = new FaultyBroker(inner)) }, { concurrency: 2 });
      const result = await scene.send(sender, chordOf([task('a'), task('b')], task('z')));
      await scene.ended(result.tasks[0] as AsyncResult);
      await scene.began('b');
      // From now on it can publish, but nothing that it has taken is ever acked, and nothing more is taken.
      broker?.faults.fail('settle', { times: 1_000 });
      first.pause();
      scene.open('b');
      await scene.worker();
      assert.equal(await scene.within('the chord', result.get()), 'z(a(),b())');
      await scene.within('the first worker to stop', first.quit());
      await scene.drained();
      await scene.quiet();
      const bRuns = suite.takesGroups ? 2 : 1; // workers cannot read that it is done
      assert.deepEqual([scene.log.times('b'), scene.log.times('z')], [bRuns, 1]);
    });
  });
}

/** A server with something around each publish of its broker. */
function publishing(around: (publish: () => Promise<Outcome[]>) => Promise<Outcome[]>): ServerPlan {
  return {
    broker: (inner) => overlay(inner, { publish: (messages) => around(() => inner.publish(messages)) }),
  };
}

/** The callback may run before its sender is told that it was published, and writes the flag: that must not be the next round's. */
function decided(scene: Scene, { backend }: Server, groupUuid: string): Promise<void> {
  const isDecided = async () => (await backend.readGroup(groupUuid))?.chordTriggered === true;
  return scene.eventually('the chord to be decided', isDecided);
}

/** As a Go client does: the group's UUID is its to choose, and the messages do not say when they were sent. Answers CreatedAt. */
async function sendAsGo(
  { broker, backend }: Server,
  { queue }: Scene,
  groupUuid: string,
  members: readonly (Signature & { readonly uuid: string })[],
  chordCallback: Signature,
): Promise<string> {
  const taskUuids = members.map(({ uuid }) => uuid);
  const createdAt = new Date().toISOString();
  await backend.initGroup({ groupUuid, taskUuids, chordTriggered: false, lock: false, createdAt }, 60);
  const pending = members.map(
    ({ uuid, name }) => ({ taskUuid: uuid, taskName: name, state: 'PENDING', createdAt }) as const,
  );
  await backend.write(pending.map((state) => ({ state, expiresInSeconds: 60 })));
  const groupTaskCount = members.length;
  const messages = members.map((member) => {
    const signature = { ...member, groupUuid, groupTaskCount, chordCallback, routingKey: queue };
    return { body: encodeSignature(signature), routingKey: queue, signature };
  });
  const outcomes = await broker.publish(messages);
  for (const { status } of outcomes) assert.equal(status, 'stored');
  return createdAt;
}
