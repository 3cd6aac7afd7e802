// Sending workflows: what is refused before anything has happened, and groups that reach the broker only in part.

import assert from 'node:assert/strict';
import {
  failed,
  GroupSendError,
  MachineryError,
  type Server,
  type Signature,
  type Workflow,
  type WorkflowOptions,
} from '@machinery/core';
import { FaultyBackend, FaultyBroker } from '../faults/index.ts';
import { type AnyChain, labelHeader, workflowOf } from './building.ts';
import { assertCode } from './results.ts';
import type { Scene } from './scene.ts';
import { chordOf, groupOf, task } from './sketch.ts';
import type { WorkflowSuite } from './workflows-under-test.ts';

/** A server whose calls are counted. */
export async function countedServer(
  scene: Scene,
  maxMessageBytes?: number,
): Promise<{ server: Server; broker: FaultyBroker; backend: FaultyBackend }> {
  const made = {} as { broker: FaultyBroker; backend: FaultyBackend };
  const server = await scene.server({
    broker: (inner) => {
      made.broker = new FaultyBroker(inner, {
        maxPublishBatch: 1,
        ...(maxMessageBytes !== undefined && { maxMessageBytes }),
      });
      return made.broker;
    },
    backend: (inner) => (made.backend = new FaultyBackend(inner)),
  });
  return { server, ...made };
}

export function assertUntouched(broker: FaultyBroker, backend: FaultyBackend): void {
  assert.deepEqual({ published: broker.messagesPublished, calls: backend.faults.total }, { published: 0, calls: 0 });
}

const labelOf = ({ headers }: Signature) => headers?.[labelHeader];

export function testSending(suite: WorkflowSuite): void {
  suite.describe('a group that is sent', () => {
    suite.it('in part rejects with what was sent and what was not, and fails its callback', async (scene) => {
      const { server, broker } = await countedServer(scene);
      const error = new MachineryError('ERR_MACHINERY_BROKER_FAILED', 'Refused for good, on purpose');
      broker.refuse = ({ signature }) => (labelOf(signature) === 'b' ? failed(error, false) : undefined);
      await scene.worker();
      await assertPart(scene, server, { sent: ['a', 'c'], unsent: ['b'] }, error);
    });

    suite.it('in part, as the broker went away, rejects likewise', async (scene) => {
      const { server, broker } = await countedServer(scene);
      broker.faults.fail('publish', { nth: 2, times: 2, answered: true });
      await scene.worker();
      await assertPart(scene, server, { sent: ['a'], unsent: ['b', 'c'] });
    });

    suite.it(
      'until a signal fires rejects with what was sent and what was not, and fails its callback',
      async (scene) => {
        const { server, broker } = await countedServer(scene);
        const stop = new AbortController();
        broker.onPublish = () => broker.calls.publish === 1 && stop.abort(); // while the second is published
        await scene.worker();
        const options = { sendConcurrency: 1, signal: stop.signal };
        await assertPart(scene, server, { sent: ['a', 'b'], unsent: ['c'] }, 'ERR_MACHINERY_ABORTED', options);
      },
    );

    suite.it('with a signal that has fired, or a member that is too large, does nothing', async (scene) => {
      const { server, broker, backend } = await countedServer(scene, 2_000);
      const chord = workflowOf(chordOf([task('a'), task('b')], task('z')), scene.queue) as AnyChain;
      await assertCode(server.sendChain(chord, { signal: AbortSignal.abort() }), 'ERR_MACHINERY_ABORTED');
      const large = workflowOf(groupOf(task('a'), task('b'.repeat(3_000))), scene.queue) as AnyChain;
      await assertCode(server.sendChain(large), 'ERR_MACHINERY_MESSAGE_TOO_LARGE');
      assertUntouched(broker, backend);
    });

    suite.it('has no more messages on their way than `sendConcurrency` says', async (scene) => {
      let broker: FaultyBroker | undefined;
      const server = await scene.server({ broker: (inner) => (broker = new FaultyBroker(inner)) });
      const labels = Array.from({ length: 30 }, (_, i) => `m${i}`);
      await scene.send(server, groupOf(...labels.map((label) => task(label))), { sendConcurrency: 3 });
      assert.ok(
        (broker?.mostPublishing ?? 0) <= 3,
        `Expected at most 3 messages at once, got ${broker?.mostPublishing}`,
      );
      await scene.worker();
      await scene.log.until('all members to run', () => scene.log.entries.length === 30, scene.patienceMs);
    });
  });
}

/** Sends a chord of `a`, `b` and `c` that gets out only in part. */
async function assertPart(
  scene: Scene,
  server: Server,
  { sent, unsent }: { readonly sent: readonly string[]; readonly unsent: readonly string[] },
  why?: Error | string,
  options: WorkflowOptions = {},
): Promise<void> {
  const members = ['a', 'b', 'c'].map((label) => scene.task(label, { onError: [task(`${label} failed`)] }));
  const callback = scene.task('z', { onError: [task('e')] });
  const workflow = { kind: 'chord', members, callback } as Workflow as AnyChain;
  const error: unknown = await scene.within('the send to reject', server.sendChain(workflow, options)).then(
    () => assert.fail('Expected the send to reject'),
    (reason) => reason,
  );
  if (!(error instanceof GroupSendError)) throw error;
  const uuids = (labels: readonly string[]) => labels.map((label) => scene.task(label).uuid);
  assert.deepEqual(
    error.sent.map(({ uuid }) => uuid),
    uuids(sent),
  );
  assert.deepEqual(
    error.unsent.map(({ uuid }) => uuid),
    uuids(unsent),
  );
  for (const { name, error: reason } of error.unsent) {
    assert.equal(name, 'step');
    if (typeof why === 'string')
      assert.ok(MachineryError.is(reason) && reason.code === why, `Expected ${why}, got ${reason}`);
    else if (why !== undefined) assert.equal(reason, why);
  }

  const [text] = await scene.began('e');
  assert.match(text ?? '', new RegExp(`^Task step \\((${uuids(unsent).join('|')})\\) failed: It was not published: `));
  for (const uuid of [...uuids(unsent), callback.uuid])
    assert.equal((await scene.ended(server.result(uuid))).state, 'FAILURE');
  for (const uuid of uuids(sent)) assert.equal((await scene.ended(server.result(uuid))).state, 'SUCCESS');
  await scene.quiet();
  assert.deepEqual(scene.log.entries.map(({ label }) => label).toSorted(), [...sent, 'e'].toSorted());
}
