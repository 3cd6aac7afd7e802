// What is written is what is read, by another instance: every state, every wire type and the values at their edges.

import assert from 'node:assert/strict';
import type { StateName, TaskResult, TaskState } from '@machinery/core';
import type { BackendSuite } from './backend-under-test.ts';
import { assertSameState, expectStored, int64, newTaskUuid, readOne, stateOf, store } from './sample-states.ts';

const integers: Readonly<Record<string, readonly [min: number | bigint, max: number | bigint]>> = {
  int: [-(2n ** 63n), 2n ** 63n - 1n],
  int8: [-128, 127],
  int16: [-32_768, 32_767],
  int32: [-2_147_483_648, 2_147_483_647],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint: [0, 2n ** 64n - 1n],
  uint8: [0, 255],
  uint16: [0, 65_535],
  uint32: [0, 4_294_967_295],
  uint64: [0, 2n ** 64n - 1n],
};

/** The edges of 64 bits, and of what a double holds exactly. */
const wide = [
  2 ** 53 - 1,
  -(2 ** 53 - 1),
  2n ** 53n,
  2n ** 53n + 1n,
  -(2n ** 53n) - 1n,
  1_234_567_890_123_456_789n,
] as const;

const doubles = [0, 1, -1.5, 0.1, 1 / 3, 123_456.789, 1e21, 1e-7, 5e-324, -2.225e-308, Number.MAX_VALUE];
const singles = [0, 0.1, 16_777_216, 3.4028235e38, -1e-45];

const texts = [
  '',
  ' ',
  'add',
  ' spaces around ',
  'two\nlines\r\nand a\ttab',
  'NUL \0 in the middle, and at the end \0',
  '"quotes", \\backslashes\\ and /slashes/',
  'grüße 世界 ☃ 👩‍👩‍👧 \u2028 \u2029 \u00e9 e\u0301 \ufeff \ufffd',
  '<b>&amp;</b> $where {$gt: 1} %s %00 $(x) {{y}}',
  'null',
  'true',
  '12345678901234567890',
  '1e400',
  // Go on MongoDB takes a text that is a JSON object for the object.
  '{"a": 1, "b": [true, null], "c": 1.0}',
  '[1, 2]',
  '2026-11-21T08:00:00Z',
];

export function testRoundTrips(suite: BackendSuite): void {
  /** Writes each list of results as one state by one instance, and reads it by another. */
  const keeps = (name: string, lists: () => Iterable<readonly TaskResult[]>) =>
    suite.it(name, async (open) => {
      const [writer, reader] = [await open(), await open()];
      const states = Array.from(lists(), (results) => stateOf('SUCCESS', { results }));
      await store(writer, states);
      await expectStored(reader, states);
    });

  suite.describe('what is written is read', () => {
    keeps('integers of every type keep their value, at the ends of their range and beyond 2^53', function* () {
      for (const [type, edges] of Object.entries(integers)) {
        for (const value of [0, 1, ...edges]) yield [{ type, value }];
        yield [{ type: `[]${type}`, value: [...edges, 0, 1] }];
      }
      for (const value of wide) yield [int64(value)];
      yield [{ type: '[]int64', value: [...wide] }];
      yield [{ type: 'uint64', value: 2n ** 63n }];
    });

    keeps('floats keep their value, however large or small', function* () {
      for (const value of doubles) yield [{ type: 'float64', value }];
      for (const value of singles) yield [{ type: 'float32', value }];
      yield [{ type: '[]float64', value: doubles }];
      yield [{ type: '[]float32', value: singles }];
    });

    keeps('booleans are booleans', function* () {
      yield [{ type: 'bool', value: true }];
      yield [{ type: 'bool', value: false }];
      yield [{ type: '[]bool', value: [true, false, true] }];
    });

    keeps('texts keep every character, and stay texts whatever they look like', function* () {
      for (const value of texts) yield [{ type: 'string', value }];
      yield [{ type: '[]string', value: texts }];
    });

    keeps('bytes keep their base64 text and the name of their type', function* () {
      for (const type of ['[]byte', '[]uint8']) {
        for (const value of ['', 'AA==', 'AQI=', '+/+/', Buffer.from(allBytes()).toString('base64')]) {
          yield [{ type, value }];
        }
      }
    });

    keeps('slices keep their order and length, empty ones and null too', function* () {
      yield [{ type: '[]int64', value: [] }];
      yield [{ type: '[]string', value: [] }];
      yield [{ type: '[]string', value: [''] }];
      yield [{ type: '[]int64', value: [3, 1, 2, 1, 3] }];
      yield [{ type: '[]int64', value: null }];
      yield [{ type: '[]int64', value: Array.from({ length: 1_000 }, (_, i) => i) }];
    });

    keeps('a task may return nothing, or several values of different types', function* () {
      yield [];
      yield [int64(1), int64(1)];
      yield [int64(-1), { type: 'string', value: '' }, { type: 'bool', value: false }, { type: '[]int64', value: [] }];
      yield Array.from({ length: 50 }, (_, i) => int64(i));
    });

    suite.it('every state keeps the fields it has, and has no others', async (open) => {
      const [writer, reader] = [await open(), await open()];
      const states = everyState();
      await store(writer, states);
      await expectStored(reader, states);
    });

    suite.it('errors keep their lines and characters', async (open) => {
      const [writer, reader] = [await open(), await open()];
      const states = [...texts, 'Error: no\n    at run (file.js:1:2)\n', 'x'.repeat(2_000)].flatMap((error) => [
        stateOf('FAILURE', { error }),
        stateOf('RETRY', { error }),
      ]);
      await store(writer, states);
      await expectStored(reader, states);
    });

    suite.it('names of tasks keep every character', async (open) => {
      const backend = await open();
      const states = ['a', 'math.add', 'a b', 'größe ☃', '"a"\\', 'n'.repeat(1_000)].map((taskName) =>
        stateOf('SUCCESS', { taskName }),
      );
      await store(backend, states);
      await expectStored(backend, states);
    });

    suite.it('the time of sending keeps its millisecond, whatever the number of its digits', async (open) => {
      const backend = await open();
      const digits = ['', '.5', '.12', '.120', '.123', '.001', '.999', '.123456', '.123456789', '.000000005'];
      const states = digits.map((fraction) => stateOf('STARTED', { createdAt: `2026-11-21T08:00:00${fraction}Z` }));
      await store(backend, states);
      await expectStored(backend, states);
    });

    suite.it('100 kB of text, of slice and of error are kept', async (open) => {
      const [writer, reader] = [await open(), await open()];
      const bytes = Math.min(100_000, (suite.declares.maxStateBytes ?? 100_000) * 0.5);
      const states = [
        stateOf('SUCCESS', { results: [{ type: 'string', value: 'x'.repeat(bytes) }] }),
        stateOf('SUCCESS', { results: [{ type: 'string', value: '☃'.repeat(bytes / 3) }] }),
        stateOf('SUCCESS', { results: [{ type: '[]byte', value: 'AQID'.repeat(bytes / 4) }] }),
        stateOf('SUCCESS', { results: [{ type: '[]int64', value: Array.from({ length: bytes / 20 }, () => 1234) }] }),
        stateOf('FAILURE', { error: 'e'.repeat(bytes) }),
      ];
      await store(writer, states);
      await expectStored(reader, states);
    });

    suite.it('what is stored does not change with the arrays of its writer', async (open) => {
      const backend = await open();
      const value = [1, 2, 3];
      const state = stateOf('SUCCESS', { results: [{ type: '[]int64', value }] });
      await backend.write([{ state, expiresInSeconds: 60 }]);
      value.push(4);
      const expected = { ...state, results: [{ type: '[]int64', value: [1, 2, 3] }] };
      assertSameState(await readOne(backend, state.taskUuid), expected);
    });

    suite.it('what was never written is undefined', async (open) => {
      const backend = await open();
      assert.equal(await readOne(backend, newTaskUuid()), undefined);
    });

    if (suite.declares.readConsumes === true) {
      suite.it('reading a state takes it away, for every other instance', async (open) => {
        const [writer, reader] = [await open(), await open()];
        const state = stateOf('SUCCESS');
        await store(writer, [state]);
        await expectStored(reader, [state]);
        assert.equal(await readOne(writer, state.taskUuid), undefined);
        // It may remember what it has read, for others in its process.
        const again = await readOne(reader, state.taskUuid);
        if (again !== undefined) assertSameState(again, state);
      });
    } else {
      suite.it('a state can be read again and again, by every instance', async (open) => {
        const [writer, reader] = [await open(), await open()];
        const value = [1, 2, 3];
        const state = stateOf('SUCCESS', { results: [{ type: '[]int64', value }] });
        await store(writer, [state]);
        for (const backend of [writer, reader, reader, writer]) {
          const read = await readOne(backend, state.taskUuid);
          assertSameState(read, state);
          // What is read is the reader's own.
          (read?.results?.[0]?.value as number[] | undefined)?.reverse();
        }
      });
    }
  });
}

function everyState(): TaskState[] {
  const bare: StateName[] = ['PENDING', 'RECEIVED', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE'];
  const retryEta = '2026-11-21T08:00:05.25Z';
  return [
    ...bare.map((state) => stateOf(state)),
    ...bare.map((state) => stateOf(state, { attempt: 3 })),
    stateOf('SUCCESS', { results: [] }),
    stateOf('FAILURE', { error: '' }),
    stateOf('RETRY', { error: 'later', retryEta, retryCount: 2 }),
    stateOf('RETRY', { error: 'last', retryEta, retryCount: 0, attempt: 12 }),
    // What a Go worker leaves on some backends: no name, no time.
    ...bare.map((state): TaskState => ({ taskUuid: newTaskUuid(), taskName: '', state })),
  ];
}

const allBytes = (): Uint8Array => Uint8Array.from({ length: 256 }, (_, i) => i);
