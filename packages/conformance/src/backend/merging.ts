// The rules of `mergeState`, for every pair of a stored and an incoming state. Core's own function is the model.

import type { Backend, TaskState } from '@machinery/core';
import { isFinal, mergeState, type StateName } from '@machinery/core';
import type { BackendSuite } from './backend-under-test.ts';
import { assertSameState, int64, newTaskUuid, readAll, sentAt, stateOf, store } from './sample-states.ts';

const names: readonly StateName[] = ['PENDING', 'RECEIVED', 'STARTED', 'RETRY', 'SUCCESS', 'FAILURE'];

const shortTime = '2026-11-21T08:00:00.12Z';
/** How the two states know when they were sent. */
const sends = {
  'same send': [sentAt, sentAt],
  'same send, written with fewer digits': ['2026-11-21T08:00:00.120Z', shortTime],
  'same send, written with more digits': [shortTime, '2026-11-21T08:00:00.120000000Z'],
  'same millisecond, other nanoseconds': ['2026-11-21T08:00:00.123456789Z', '2026-11-21T08:00:00.123Z'],
  'later send': [sentAt, '2026-11-21T08:00:01.123Z'],
  'a millisecond later': [sentAt, '2026-11-21T08:00:00.124Z'],
  'earlier send': [sentAt, '2026-11-21T07:59:59Z'],
  'later, though less as text': ['2026-11-21T08:00:00Z', '2026-11-21T08:00:00.5Z'],
  'the incoming one does not know': [sentAt, undefined],
  'the stored one does not know': [undefined, sentAt],
  'neither knows': [undefined, undefined],
} as const satisfies Record<string, readonly [stored: string | undefined, incoming: string | undefined]>;

type Send = keyof typeof sends;

const taskNames = {
  'both with a name': ['add', 'add'],
  'no name incoming': ['add', ''],
  'no name stored': ['', 'add'],
  'no name at all': ['', ''],
} as const;

interface Pair {
  readonly what: string;
  readonly send: Send;
  readonly stored: TaskState | undefined;
  readonly incoming: TaskState;
}

function allPairs(): Pair[] {
  const pairs: Pair[] = names.map((name) => ({
    what: `${name} where nothing is stored`,
    send: 'same send',
    stored: undefined,
    incoming: incomingState(newTaskUuid(), name, 'add', sentAt),
  }));
  for (const send of Object.keys(sends) as Send[]) {
    for (const [named, [storedName, incomingName]] of Object.entries(taskNames)) {
      for (const before of names) {
        for (const after of names) {
          const [storedAt, incomingAt] = sends[send];
          const stored = storedState(before, storedName, storedAt);
          const incoming = incomingState(stored.taskUuid, after, incomingName, incomingAt);
          pairs.push({ what: `${after} after ${before}, ${send}, ${named}`, send, stored, incoming });
        }
      }
    }
  }
  return pairs;
}

/** With fields that must not shine through when the state is replaced. */
function storedState(state: StateName, taskName: string, createdAt: string | undefined): TaskState {
  return timed(createdAt, stateOf(state, { taskName, attempt: 2, ...ended(state, 'stored') }));
}

function incomingState(taskUuid: string, state: StateName, taskName: string, at: string | undefined): TaskState {
  return timed(at, stateOf(state, { taskUuid, taskName, ...ended(state, 'incoming') }));
}

function timed(createdAt: string | undefined, { createdAt: _, ...state }: TaskState): TaskState {
  return createdAt === undefined ? state : { ...state, createdAt };
}

function ended(state: StateName, text: string): Partial<TaskState> {
  if (state === 'SUCCESS') return { results: [{ type: 'string', value: text }, int64(2n ** 60n)] };
  if (state === 'FAILURE') return { error: text };
  return state === 'RETRY' ? { error: text, retryEta: '2026-11-21T08:00:05Z', retryCount: 4 } : {};
}

export function testMerging(suite: BackendSuite): void {
  /** Stores the first state of each pair, then `write`s the second, and compares with the model. */
  async function expectMerged(
    [first, second, reader]: readonly [Backend, Backend, Backend],
    pairs: readonly Pair[],
    write: (backend: Backend, states: readonly TaskState[]) => Promise<void>,
  ): Promise<void> {
    await store(
      first,
      pairs.flatMap(({ stored }) => stored ?? []),
    );
    await write(
      second,
      pairs.map(({ incoming }) => incoming),
    );
    const read = await readAll(
      reader,
      pairs.map(({ incoming }) => incoming.taskUuid),
    );
    pairs.forEach(({ what, stored, incoming }, i) => {
      assertSameState(read[i], mergeState(stored, incoming), `Expected what mergeState says of ${what}`);
    });
  }

  const merges = (name: string, applies: (pair: Pair) => boolean) =>
    suite.it(name, async (open) => {
      const backends = [await open(), await open(), await open()] as const;
      await expectMerged(backends, allPairs().filter(applies), storeEach);
    });

  const sameSend = ({ send }: Pair) => send.startsWith('same');
  const wasFinal = ({ stored }: Pair) => stored !== undefined && isFinal(stored.state);
  const isLate = ({ incoming }: Pair) => !isFinal(incoming.state) && incoming.state !== 'PENDING';
  const isWhole = ({ incoming }: Pair) => incoming.taskName !== '' && incoming.createdAt !== undefined;

  suite.describe('a state that meets a stored one', () => {
    merges(
      'PENDING starts over, and nothing of what was stored is left',
      ({ incoming }) => incoming.state === 'PENDING',
    );
    merges(
      'RECEIVED, STARTED and RETRY never replace a final state of the same send, its times being compared as times',
      (pair) => isLate(pair) && wasFinal(pair) && sameSend(pair),
    );
    merges(
      'RECEIVED, STARTED and RETRY replace a final state of another send',
      (pair) => isLate(pair) && wasFinal(pair) && !sameSend(pair) && isWhole(pair),
    );
    merges('any state replaces one that is not final', (pair) => !wasFinal(pair) && isWhole(pair));
    merges(
      'a final state replaces any other, and nothing of it is left',
      (pair) => isFinal(pair.incoming.state) && isWhole(pair),
    );
    merges(
      'a name that the state lacks is kept from what is stored',
      ({ incoming }) => incoming.taskName === '' && incoming.createdAt !== undefined,
    );
    merges(
      'a time of sending that the state lacks is kept from what is stored',
      ({ incoming }) => incoming.createdAt === undefined,
    );

    suite.it('the same rules hold for each state of a batch', async (open) => {
      const backend = await open();
      await expectMerged([backend, backend, backend], allPairs(), store);
    });

    suite.it(
      'name and time of sending are kept from PENDING to the end by states that never knew them',
      async (open) => {
        const backends = [await open(), await open()];
        const { taskUuid, ...pending } = stateOf('PENDING');
        await store(backends[0] as Backend, [{ taskUuid, ...pending }]);
        const later = [
          ...(['RECEIVED', 'STARTED', 'RETRY', 'RECEIVED', 'STARTED'] as const).map((state) => ({ state })),
          { state: 'SUCCESS' as const, results: [int64(7)] },
        ];
        for (const [i, state] of later.entries()) {
          await store(backends[i % 2] as Backend, [{ taskUuid, taskName: '', ...state }]);
        }
        const [read] = await readAll(backends[0] as Backend, [taskUuid]);
        assertSameState(read, stateOf('SUCCESS', { taskUuid }));
      },
    );

    suite.it('writing the same final state again changes nothing', async (open) => {
      const backend = await open();
      const states = [stateOf('SUCCESS'), stateOf('FAILURE')];
      for (let time = 0; time < 3; time++) await store(backend, states);
      const read = await readAll(
        backend,
        states.map(({ taskUuid }) => taskUuid),
      );
      states.forEach((state, i) => void assertSameState(read[i], state));
    });
  });
}

/** A call for each state, many at once. */
async function storeEach(backend: Backend, states: readonly TaskState[]): Promise<void> {
  for (let i = 0; i < states.length; i += 100) {
    await Promise.all(states.slice(i, i + 100).map((state) => store(backend, [state])));
  }
}
