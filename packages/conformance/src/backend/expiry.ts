// How long states are kept. Expiries are one or two seconds, and the cases wait for them at the same time.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BackendSuite, Case } from './backend-under-test.ts';
import {
  assertSameState,
  batchesOf,
  expectStored,
  longSeconds,
  readOne,
  stateOf,
  store,
  writesOf,
} from './sample-states.ts';

export function testExpiry(suite: BackendSuite): void {
  const readsAgain = suite.declares.readConsumes !== true;

  const cases: Record<string, Case> = {
    'is read until its time has passed': async (open) => {
      const [writer, reader] = [await open(), await open()];
      const states = Array.from({ length: 10 }, () => stateOf('SUCCESS'));
      const wholeStates = states.map((state, i) => (i % 2 === 0 ? state : { ...state, taskName: '' }));
      const writtenAt = Date.now();
      await Promise.all(
        wholeStates.map(async (state) => {
          const [outcome] = await writer.write(writesOf([state], 1));
          assert.equal(outcome?.status, 'stored');
        }),
      );
      // Each is read once: reading may take it away.
      for (const [i, state] of wholeStates.entries()) {
        await sleep(Math.max(0, writtenAt + 100 * i - Date.now()));
        const read = await readOne(reader, state.taskUuid);
        const afterMs = Date.now() - writtenAt;
        if (afterMs >= 1_000) break;
        assertSameState(read, state, `Expected what is kept for 1 s to be there ${afterMs} ms after it was written`);
      }
    },

    'is gone after its time, whatever its name': async (open) => {
      const [writer, reader] = [await open(), await open()];
      const names = ['PENDING', 'RECEIVED', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE'] as const;
      const states = [...names.map((name) => stateOf(name)), ...names.map((name) => stateOf(name, { taskName: '' }))];
      await store(writer, states, 1);
      await suite.untilExpired(1);
      for (const { taskUuid, state } of states) {
        assert.equal(await readOne(reader, taskUuid), undefined, `Expected ${state} to be gone after its time`);
      }
    },

    'each of a batch has an expiry of its own': async (open) => {
      const backend = await open();
      const [short, long] = [stateOf('SUCCESS'), stateOf('SUCCESS')];
      const writes = [...writesOf([short], 1), ...writesOf([long], longSeconds)];
      for (const batch of batchesOf(writes, backend)) {
        for (const { status } of await backend.write(batch)) assert.equal(status, 'stored');
      }
      await suite.untilExpired(1);
      assert.equal(await readOne(backend, short.taskUuid), undefined);
      await expectStored(backend, [long]);
    },

    'is kept for as long as the last write says, when that is longer': async (open) => {
      const backend = await open();
      const pairs = [
        [stateOf('PENDING'), 'STARTED'],
        [stateOf('STARTED'), 'SUCCESS'],
        [stateOf('SUCCESS'), 'FAILURE'],
        // A redelivery writes the same again.
        [stateOf('SUCCESS'), 'SUCCESS'],
        [stateOf('STARTED', { taskName: '' }), 'SUCCESS'],
      ] as const;
      const first = pairs.map(([state]) => state);
      const last = pairs.map(([{ taskUuid }, name]) => stateOf(name, { taskUuid }));
      await store(backend, first, 1);
      await store(backend, last);
      await suite.untilExpired(1);
      await expectStored(backend, last);
    },

    'starts over with PENDING, and is then kept for as long as that says': async (open) => {
      const backend = await open();
      const ended = [stateOf('SUCCESS'), stateOf('FAILURE')];
      const again = ended.map(({ taskUuid }) => stateOf('PENDING', { taskUuid, createdAt: '2026-11-21T09:00:00Z' }));
      await store(backend, ended, 1);
      await store(backend, again);
      await suite.untilExpired(1);
      await expectStored(backend, again);
    },

    'a final state is kept for as long as it says, whatever a late STARTED of its send says': async (open) => {
      const backend = await open();
      const ended = [stateOf('SUCCESS'), stateOf('FAILURE')];
      await store(backend, ended);
      await store(
        backend,
        ended.map(({ taskUuid }) => stateOf('STARTED', { taskUuid })),
        1,
      );
      await suite.untilExpired(1);
      await expectStored(backend, ended);
    },

    'is forgotten for merging once it has expired': async (open) => {
      const backend = await open();
      const { taskUuid } = stateOf('SUCCESS');
      await store(backend, [stateOf('SUCCESS', { taskUuid })], 1);
      await suite.untilExpired(1);
      const started = stateOf('STARTED', { taskUuid });
      await store(backend, [started]);
      await expectStored(backend, [started]);
    },
  };

  // Where reading consumes, each write is a message of its own, with an expiry of its own.
  const rereadable: Record<string, Case> = {
    'is kept for as long as the last write says, when that is shorter': async (open) => {
      const backend = await open();
      const pairs = [
        [stateOf('PENDING'), 'RECEIVED'],
        [stateOf('STARTED'), 'FAILURE'],
        [stateOf('SUCCESS'), 'PENDING'],
      ] as const;
      await store(
        backend,
        pairs.map(([state]) => state),
      );
      const last = pairs.map(([{ taskUuid }, name]) => stateOf(name, { taskUuid }));
      await store(backend, last, 1);
      await suite.untilExpired(1);
      for (const { taskUuid } of last) assert.equal(await readOne(backend, taskUuid), undefined);
    },

    'a final state is not kept longer by a late STARTED of its send': async (open) => {
      const backend = await open();
      const ended = stateOf('SUCCESS');
      const from = Date.now();
      await store(backend, [ended], 1);
      await store(backend, [stateOf('STARTED', { taskUuid: ended.taskUuid })]);
      // Otherwise it may have expired before the other one came.
      if (Date.now() - from > 900) return;
      await suite.untilExpired(1);
      assert.equal(await readOne(backend, ended.taskUuid), undefined);
    },
  };

  suite.describe('a state that expires', () => void suite.together(readsAgain ? { ...cases, ...rereadable } : cases));
}
