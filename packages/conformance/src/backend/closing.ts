// The end of an instance, which is not the end of what it stored.

import assert from 'node:assert/strict';
import { MachineryError, type Outcome, silentLogger } from '@machinery/core';
import type { BackendSuite } from './backend-under-test.ts';
import {
  assertSameGroup,
  expectStored,
  groupOf,
  longSeconds,
  newGroupUuid,
  newTaskUuid,
  newTaskUuids,
  stateOf,
  store,
  writesOf,
} from './sample-states.ts';

const closed = { code: 'ERR_MACHINERY_CLOSED' };

export function testClosing(suite: BackendSuite): void {
  suite.describe('close', () => {
    testClosingTwice(suite);

    suite.it('leaves what is stored to other instances', async (open) => {
      const [writer, reader] = [await open(), await open()];
      const [state, group] = [stateOf('SUCCESS'), groupOf(newTaskUuids(2))];
      await store(writer, [state]);
      await writer.initGroup(group, longSeconds);
      await writer.close();
      await expectStored(reader, [state]);
      assertSameGroup(await reader.readGroup(group.groupUuid), group);
    });

    suite.it('makes writes fail for good with ERR_MACHINERY_CLOSED', async (open) => {
      const backend = await open();
      await store(backend, [stateOf('SUCCESS')]);
      await backend.close();
      const states = [stateOf('SUCCESS'), stateOf('STARTED', { taskName: '' }), stateOf('PENDING')];
      for (const state of states) {
        let outcomes: readonly Outcome[];
        try {
          outcomes = await backend.write(writesOf([state]));
        } catch (error) {
          assert.ok(MachineryError.is(error, closed.code as 'ERR_MACHINERY_CLOSED'), String(error));
          continue;
        }
        assert.equal(outcomes.length, 1);
        const [outcome] = outcomes;
        assert.ok(outcome?.status === 'failed' && !outcome.retryable, 'Expected the write to fail for good');
        assert.ok(MachineryError.is(outcome.error, 'ERR_MACHINERY_CLOSED'), String(outcome.error));
      }
    });

    suite.it('makes every other call reject with ERR_MACHINERY_CLOSED, and none wait', async (open) => {
      const backend = await open();
      const group = groupOf(newTaskUuids(1));
      await backend.initGroup(group, longSeconds);
      await backend.close();
      const [uuid, groupUuid] = [newTaskUuid(), newGroupUuid()];
      await assert.rejects(() => backend.read([uuid]), closed);
      await assert.rejects(() => backend.purge({ tasks: [uuid], groups: [groupUuid] }), closed);
      await assert.rejects(() => backend.initGroup(groupOf([uuid]), longSeconds), closed);
      await assert.rejects(() => backend.readGroup(groupUuid), closed);
      await assert.rejects(() => backend.renewGroup(groupUuid, longSeconds), closed);
      await assert.rejects(() => backend.claimChord(group.groupUuid, uuid), closed);
      await assert.rejects(() => backend.finishChord(groupUuid), closed);
      const { takeGroup } = backend;
      if (takeGroup)
        await assert.rejects(() => takeGroup.call(backend, { uuid: groupUuid, taskCount: 1 }, false), closed);
    });

    suite.it('lets calls under way end, in whatever way', async (open) => {
      const backend = await open();
      await store(backend, [stateOf('PENDING')]);
      const states = Array.from({ length: 20 }, () => stateOf('SUCCESS'));
      const writes = states.map((state) => backend.write(writesOf([state])));
      const others = [backend.read([newTaskUuid()]), backend.initGroup(groupOf([]), longSeconds)];
      // Each call has its limit: one that never ends fails the case.
      const [answers] = await Promise.all([Promise.allSettled([...writes, ...others]), backend.close()]);
      for (const answer of answers) {
        const isLate = answer.status === 'rejected' && answer.reason?.name === 'AssertionError';
        assert.ok(!isLate, `Expected each call to be answered: ${isLate && answer.reason}`);
      }
    });
  });
}

/** Holds for backends that store nothing, too. */
export function testClosingTwice(suite: BackendSuite): void {
  suite.it('may be called again, at once and later', async (open) => {
    const backend = await open();
    await backend.read([newTaskUuid()]);
    await Promise.all([backend.close(), backend.close()]);
    await backend.close();
  });

  suite.it('may be called on an instance that was never used', async (open) => {
    const [attached, unused] = [await open(), await open()];
    attached.attach?.({ logger: silentLogger });
    await attached.close();
    await unused.close();
  });
}
