// What is left of the contract where `storesResults` is false: everything is taken, nothing is kept.

import assert from 'node:assert/strict';
import type { BackendSuite } from './backend-under-test.ts';
import { testClosingTwice } from './closing.ts';
import {
  assertStored,
  groupOf,
  longSeconds,
  newGroupUuid,
  newTaskUuid,
  newTaskUuids,
  stateOf,
  writesOf,
} from './sample-states.ts';

export function testStoringNothing(suite: BackendSuite): void {
  suite.describe('a backend that stores nothing', () => {
    suite.it('takes states, with an outcome for each, and reads none', async (open) => {
      const backend = await open();
      const states = [stateOf('PENDING'), stateOf('STARTED', { taskName: '' }), stateOf('SUCCESS')];
      const outcomes = await backend.write(writesOf(states));
      assert.equal(outcomes.length, states.length);
      states.forEach((state, i) => void assertStored(outcomes[i], state));
      const read = await backend.read([...states.map(({ taskUuid }) => taskUuid), newTaskUuid()]);
      assert.deepEqual(read, [undefined, undefined, undefined, undefined]);
      assert.deepEqual(await backend.write([]), []);
      assert.deepEqual(await backend.read([]), []);
    });

    suite.it('lets a group be started, renewed, finished and purged, and has none', async (open) => {
      const backend = await open();
      const { groupUuid, ...group } = groupOf(newTaskUuids(2));
      await backend.initGroup({ groupUuid, ...group }, longSeconds);
      assert.equal(await backend.readGroup(groupUuid), undefined);
      await backend.renewGroup(groupUuid, longSeconds);
      await backend.finishChord(groupUuid);
      await backend.purge({ tasks: newTaskUuids(2), groups: [groupUuid] });
    });

    suite.it('refuses the claim of a chord with ERR_MACHINERY_NOT_SUPPORTED', async (open) => {
      const backend = await open();
      const claim = backend.claimChord(newGroupUuid(), newTaskUuid());
      await assert.rejects(claim, { code: 'ERR_MACHINERY_NOT_SUPPORTED' });
    });
  });

  suite.describe('close', () => void testClosingTwice(suite));
}
