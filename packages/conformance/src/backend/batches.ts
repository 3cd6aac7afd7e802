// Many states in one call, many calls at once, and states that are too large among others that are not.

import assert from 'node:assert/strict';
import { encodeState, MachineryError, type Outcome, type TaskState } from '@machinery/core';
import type { BackendSuite } from './backend-under-test.ts';
import {
  assertSameState,
  assertStored,
  batchesOf,
  describeOutcome,
  expectStored,
  int64,
  newTaskUuid,
  newTaskUuids,
  readAll,
  readOne,
  stateOf,
  store,
  writesOf,
} from './sample-states.ts';

/** UUIDs are whatever text the sender chose. */
const oddUuids = [
  'with space',
  ' spaces around ',
  'two\nlines\tand\ra return',
  'grüße-世界-☃-👩‍👩‍👧',
  'a:b:{c}:d',
  '{braces}',
  '../../etc/passwd',
  '"quotes" and \\ and \'',
  '$where.a.b',
  '100%25+&?=#/*|`~^<>()[]',
  'é',
  'e\u0301',
  'Case',
  'case',
  'x',
  'x ',
  'x'.repeat(150),
];

export function testBatches(suite: BackendSuite): void {
  const size = suite.batch;
  const readsAgain = suite.declares.readConsumes !== true;

  suite.describe('a batch', () => {
    suite.it('of nothing is answered with nothing', async (open) => {
      const backend = await open();
      assert.deepEqual(await backend.write([]), []);
      assert.deepEqual(await backend.read([]), []);
      await backend.purge({});
      await backend.purge({ tasks: [], groups: [] });
    });

    suite.it(`of ${size} states is stored and read in one call, in order`, async (open) => {
      const [writer, reader] = [await open(), await open()];
      const states = Array.from({ length: size }, (_, i) => stateOf('SUCCESS', { results: [int64(i)] }));
      const outcomes = await writer.write(writesOf(states));
      assert.equal(outcomes.length, size);
      states.forEach((state, i) => void assertStored(outcomes[i], state));
      const backwards = states.toReversed();
      const read = await reader.read(backwards.map(({ taskUuid }) => taskUuid));
      assert.equal(read.length, size);
      backwards.forEach((state, i) => void assertSameState(read[i], state));
    });

    suite.it('may hold every kind of state, those that are written blindly and those that are not', async (open) => {
      const backend = await open();
      const names = ['PENDING', 'RECEIVED', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE'] as const;
      const states = Array.from({ length: Math.min(size, 60) }, (_, i) =>
        stateOf(names[i % names.length] as TaskState['state'], i % 4 === 0 ? { taskName: '' } : {}),
      );
      await store(backend, states);
      await expectStored(backend, states);
    });

    suite.it('of reads answers in the order of what was asked, undefined for what is not there', async (open) => {
      const backend = await open();
      const states = Array.from({ length: Math.min(size, 40) }, (_, i) => stateOf('SUCCESS', { results: [int64(i)] }));
      const stored = states.filter((_, i) => i % 3 !== 0);
      // In another order than they are read.
      await store(backend, stored.toReversed());
      const read = await backend.read(states.map(({ taskUuid }) => taskUuid));
      assert.equal(read.length, states.length);
      states.forEach((state, i) => {
        if (i % 3 === 0) assert.equal(read[i], undefined);
        else assertSameState(read[i], state);
      });
      assert.deepEqual(await readAll(backend, newTaskUuids(2)), [undefined, undefined]);
    });

    if (readsAgain) {
      suite.it('of reads may ask for the same state several times', async (open) => {
        const backend = await open();
        const [a, b] = [stateOf('SUCCESS', { results: [int64(1)] }), stateOf('STARTED')];
        await store(backend, [a, b]);
        const missing = newTaskUuid();
        const asked = [a.taskUuid, a.taskUuid, missing, missing, b.taskUuid, a.taskUuid];
        const read = await readAll(backend, asked);
        const expected = [a, a, undefined, undefined, b, a];
        expected.forEach((state, i) => {
          if (state === undefined) assert.equal(read[i], undefined);
          else assertSameState(read[i], state);
        });
      });
    }

    suite.it('keeps tasks apart whose UUIDs have any characters, or differ in little', async (open) => {
      const [writer, reader] = [await open(), await open()];
      const own = newTaskUuid();
      const odd = oddUuids.map((uuid, i) =>
        stateOf('SUCCESS', { taskUuid: uuid.startsWith(' ') ? `${uuid}${own}` : `${own}${uuid}`, results: [int64(i)] }),
      );
      const states = odd.filter(({ taskUuid }) => !suite.cannotBeKey(taskUuid));
      await store(writer, states);
      await expectStored(reader, states);
      const uuids = states.map(({ taskUuid }) => taskUuid);
      await writer.purge({ tasks: uuids.filter((_, i) => i % 2 === 0) });
      if (!readsAgain) return;
      const left = await readAll(reader, uuids);
      assert.deepEqual(
        left.map((state) => state?.taskUuid),
        uuids.map((uuid, i) => (i % 2 === 0 ? undefined : uuid)),
      );
    });
  });

  testRefusedKeys(suite);

  suite.describe('many calls at once', () => {
    suite.it('each get their own answer', async (open) => {
      const [writer, reader] = [await open(), await open()];
      const states = Array.from({ length: 300 }, (_, i) => stateOf('SUCCESS', { results: [int64(i)] }));
      await Promise.all(states.map((state) => store(writer, [state])));
      await Promise.all(
        states.map(async (state) => {
          const [missing, read] = await Promise.all([readOne(reader, newTaskUuid()), readOne(reader, state.taskUuid)]);
          assert.equal(missing, undefined);
          assertSameState(read, state);
        }),
      );
    });
  });

  suite.describe('purge', () => {
    suite.it('removes as many tasks as it is given, whether they are there or not', async (open) => {
      const [backend, reader] = [await open(), await open()];
      const count = Math.max(3 * suite.batch, 100) + 1;
      const uuids = newTaskUuids(count);
      const there = [0, 1, Math.floor(count / 2), count - 1];
      const kept = stateOf('SUCCESS');
      await store(backend, [kept, ...there.map((i) => stateOf('SUCCESS', { taskUuid: uuids[i] as string }))]);
      await backend.purge({ tasks: uuids });
      assert.deepEqual(
        await readAll(
          reader,
          there.map((i) => uuids[i] as string),
        ),
        there.map(() => undefined),
      );
      await expectStored(reader, [kept]);
      await backend.purge({ tasks: uuids });
    });

    suite.it('forgets a state for merging, too', async (open) => {
      const backend = await open();
      const { taskUuid } = stateOf('SUCCESS');
      await store(backend, [stateOf('SUCCESS', { taskUuid })]);
      await backend.purge({ tasks: [taskUuid] });
      const started = stateOf('STARTED', { taskUuid });
      await store(backend, [started]);
      await expectStored(backend, [started]);
    });
  });

  const { maxStateBytes } = suite.declares;
  if (maxStateBytes !== undefined) testStateSize(suite, maxStateBytes);
}

function testRefusedKeys(suite: BackendSuite): void {
  const refused = oddUuids.filter(suite.cannotBeKey);
  if (refused.length === 0) return;

  const assertRefused = (outcome: Outcome | undefined): void => {
    const isRight =
      outcome?.status === 'failed' &&
      !outcome.retryable &&
      MachineryError.is(outcome.error, 'ERR_MACHINERY_BACKEND_FAILED');
    assert.ok(isRight, `Expected failed, for good, with ERR_MACHINERY_BACKEND_FAILED, got ${describeOutcome(outcome)}`);
  };

  suite.describe('a UUID that cannot be a key', () => {
    suite.it('is refused for good by itself, has nothing to read, and can be purged', async (open) => {
      const backend = await open();
      const [before, after] = [stateOf('SUCCESS'), stateOf('STARTED')];
      const names = ['PENDING', 'STARTED', 'SUCCESS'] as const;
      const odd = names.flatMap((name) => refused.map((taskUuid) => stateOf(name, { taskUuid })));
      const states = [before, ...odd, after];
      for (const batch of batchesOf(states, backend)) {
        const outcomes = await backend.write(writesOf(batch));
        for (const [i, state] of batch.entries()) {
          if (odd.includes(state)) assertRefused(outcomes[i]);
          else assertStored(outcomes[i], state);
        }
      }
      const read = await readAll(backend, [before.taskUuid, ...refused, after.taskUuid]);
      assertSameState(read.at(0), before);
      assertSameState(read.at(-1), after);
      assert.deepEqual(
        read.slice(1, -1),
        refused.map(() => undefined),
      );
      await backend.purge({ tasks: refused, groups: refused });
    });
  });
}

function testStateSize(suite: BackendSuite, maxStateBytes: number): void {
  /** A state whose JSON has exactly that many bytes. */
  const stateOfBytes = (bytes: number, character = 'x'): TaskState => {
    const empty = stateOf('SUCCESS', { results: [{ type: 'string', value: '' }] });
    const room = bytes - Buffer.byteLength(encodeState(empty));
    const width = Buffer.byteLength(JSON.stringify(character)) - 2;
    const value = character.repeat(room / width) + 'x'.repeat(room % width);
    const state = { ...empty, results: [{ type: 'string', value }] };
    assert.equal(Buffer.byteLength(encodeState(state)), bytes);
    return state;
  };

  const assertTooLarge = (outcome: Outcome | undefined): void => {
    const isRight =
      outcome?.status === 'failed' &&
      !outcome.retryable &&
      MachineryError.is(outcome.error, 'ERR_MACHINERY_STATE_TOO_LARGE');
    assert.ok(
      isRight,
      `Expected failed, for good, with ERR_MACHINERY_STATE_TOO_LARGE, got ${describeOutcome(outcome)}`,
    );
  };

  suite.describe(`states of at most ${maxStateBytes} bytes`, () => {
    suite.it('exactly as many bytes are stored, one more is refused for good', async (open) => {
      const [writer, reader] = [await open(), await open()];
      const fit = [stateOfBytes(maxStateBytes), stateOfBytes(maxStateBytes, '☃'), stateOfBytes(maxStateBytes, '"')];
      for (const state of fit) {
        await store(writer, [state]);
        await expectStored(reader, [state]);
      }
      for (const character of ['x', '☃', '"']) {
        const [outcome] = await writer.write(writesOf([stateOfBytes(maxStateBytes + 1, character)]));
        assertTooLarge(outcome);
      }
    });

    suite.it('one that is too large fails alone, and leaves what was stored before', async (open) => {
      const [writer, reader] = [await open(), await open()];
      const [before, after, pending] = [stateOf('SUCCESS'), stateOf('STARTED'), stateOf('PENDING')];
      await store(writer, [pending]);
      const large = { ...stateOfBytes(maxStateBytes + 1_000), taskUuid: pending.taskUuid };
      const largeError = stateOf('FAILURE', { error: 'e'.repeat(maxStateBytes), taskName: '' });
      const outcomes: Outcome[] = [];
      const states = [before, large, after, largeError];
      const batch = suite.batch < states.length ? 1 : states.length;
      for (let i = 0; i < states.length; i += batch) {
        outcomes.push(...(await writer.write(writesOf(states.slice(i, i + batch)))));
      }
      assert.equal(outcomes.length, states.length);
      assertStored(outcomes[0], before);
      assertTooLarge(outcomes[1]);
      assertStored(outcomes[2], after);
      assertTooLarge(outcomes[3]);
      await expectStored(reader, [before, pending, after]);
      assert.equal(await readOne(reader, largeError.taskUuid), undefined);
    });

    suite.it('a short state is stored after one that was too large', async (open) => {
      const backend = await open();
      const large = stateOfBytes(maxStateBytes * 2);
      assertTooLarge((await backend.write(writesOf([large])))[0]);
      const short = stateOf('FAILURE', { taskUuid: large.taskUuid, error: 'the result was too large' });
      await store(backend, [short]);
      await expectStored(backend, [short]);
    });

    suite.it('a long slice is stored, or refused for good: it never fails as if it might pass later', async (open) => {
      const backend = await open();
      const elements = Math.min(500_000, Math.floor((maxStateBytes - 300) / 2));
      const state = stateOf('SUCCESS', {
        results: [{ type: '[]int64', value: Array.from({ length: Math.max(0, elements) }, () => 7) }],
      });
      const [outcome] = await backend.write(writesOf([state]));
      if (outcome?.status === 'stored') await expectStored(backend, [state]);
      else assertTooLarge(outcome);
    });
  });
}
