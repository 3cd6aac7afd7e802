// Backends that break an obligation about states. The suite finds every one.

import { setImmediate as turn } from 'node:timers/promises';
import {
  type Backend,
  isFinal,
  isSameSend,
  mergeState,
  type StateWrite,
  stored,
  type TaskState,
} from '@machinery/core';
import { MemoryBackend } from '@machinery/core/memory';
import { describe } from 'vitest';
import { changing, changingValues, Mutant, type Mutation, testMutations, writing } from './backend-cases.ts';

const lateIsStored: Mutation['by'] = 'never replace a final state of the same send';
const isLate = (state: TaskState) => !isFinal(state.state) && state.state !== 'PENDING';

const merging: Record<string, Mutation> = {
  'a final state is overwritten by STARTED': {
    by: lateIsStored,
    backend: writing((write, _, overwrite) => (write.state.state === 'STARTED' ? overwrite(write) : write)),
  },
  'times of sending are compared as text': {
    by: lateIsStored,
    backend: writing((write, before, overwrite) =>
      before && isLate(write.state) && isSameSend(before, write.state) && before.createdAt !== write.state.createdAt
        ? overwrite(write)
        : write,
    ),
  },
  'a late state of another send is dropped': {
    by: 'replace a final state of another send',
    backend: writing((write, before) =>
      before && isFinal(before.state) && isLate(write.state) ? Promise.resolve(stored) : write,
    ),
  },
  'a name is lost': {
    by: 'a name that the state lacks is kept',
    backend: writing(({ state, ...rest }, before, overwrite) => {
      const merged = mergeState(before, state);
      return merged === before
        ? Promise.resolve(stored)
        : overwrite({ ...rest, state: { ...merged, taskName: state.taskName } });
    }),
  },
  'a time of sending is lost': {
    by: 'a time of sending that the state lacks is kept',
    backend: writing((write, _, overwrite) => (write.state.createdAt === undefined ? overwrite(write) : write)),
  },
  'PENDING does not replace a final state': {
    by: 'PENDING starts over',
    backend: writing((write, before) =>
      before && isFinal(before.state) && write.state.state === 'PENDING' ? Promise.resolve(stored) : write,
    ),
  },
  'results of an earlier send stay': {
    by: 'PENDING starts over',
    backend: writing(({ state, ...rest }, before) => ({
      ...rest,
      state: before?.results && state.state === 'PENDING' ? { ...state, results: before.results } : state,
    })),
  },
  'a batch is written blindly': {
    by: 'the same rules hold for each state of a batch',
    backend: class extends Mutant {
      override write(writes: readonly StateWrite[]) {
        return writes.length === 1 ? super.write(writes) : this.writeEach(writes, (write) => this.overwrite(write));
      }
    },
  },
  'reads, merges and writes whatever has changed in between': {
    by: 'never lose a final state to RECEIVED, STARTED or RETRY of its send, one by one',
    backend: class extends Mutant {
      override write(writes: readonly StateWrite[]) {
        return this.writeEach(writes, async ({ state, ...rest }, before) => {
          if (isFinal(state.state)) return this.overwrite({ state, ...rest });
          await turn();
          return this.overwrite({ ...rest, state: mergeState(before, state) });
        });
      }
    },
  },
};

const values: Record<string, Mutation> = {
  'a bigint is rounded': {
    by: 'integers of every type keep their value',
    backend: changingValues((value) => (typeof value === 'bigint' ? Number(value) : value)),
  },
  'small floats are zero': {
    by: 'floats keep their value',
    backend: changingValues((value) => (typeof value === 'number' && Math.abs(value) < 1e-130 ? 0 : value)),
  },
  'numbers are text': {
    by: 'integers of every type keep their value',
    backend: changingValues((value) => (typeof value === 'number' ? String(value) : value)),
  },
  'a text that is a JSON object is an object': {
    by: 'texts keep every character',
    backend: changingValues((value) => (typeof value === 'string' && /^\{"/.test(value) ? JSON.parse(value) : value)),
  },
  'NUL ends a text': {
    by: 'texts keep every character',
    backend: changingValues((value) => (typeof value === 'string' ? value.replace(/\0.*/, '') : value)),
  },
  'a slice is a set': {
    by: 'slices keep their order and length',
    backend: changingValues((value) => (Array.isArray(value) ? [...new Set(value)] : value)),
  },
  'only the first result is kept': {
    by: 'a task may return nothing, or several values',
    backend: changing((state) => (state.results ? { ...state, results: state.results.slice(0, 1) } : state)),
  },
  'a RetryCount of 0 is dropped': {
    by: 'every state keeps the fields it has',
    backend: changing(({ retryCount, ...state }) => (retryCount ? { ...state, retryCount } : state)),
  },
  'the attempt is dropped': {
    by: 'every state keeps the fields it has',
    backend: changing(({ attempt: _, ...state }) => state),
  },
  'an error is one line': {
    by: 'errors keep their lines',
    backend: changing((state) => (state.error ? { ...state, error: state.error.replaceAll('\n', ' ') } : state)),
  },
  'times have whole seconds': {
    by: 'the time of sending keeps its millisecond',
    backend: changing((state) =>
      state.createdAt ? { ...state, createdAt: state.createdAt.replace(/\.\d+/, '') } : state,
    ),
  },
  'a write changes what it was given': {
    by: 'a state can be read again and again',
    fails: /read only property/,
    backend: class extends Mutant {
      override async write(writes: readonly StateWrite[]) {
        const outcomes = await super.write(writes);
        (writes[0] as { expiresInSeconds: number }).expiresInSeconds = 0;
        return outcomes;
      }
    },
  },
  'reading consumes': {
    by: 'a state can be read again and again',
    backend: class extends Mutant {
      override async read(taskUuids: readonly string[]) {
        const states = await super.read(taskUuids);
        await super.purge({ tasks: taskUuids });
        return states;
      }
    },
  },
};

const batches: Record<string, Mutation> = {
  'outcomes are in the wrong order': {
    by: 'one that is too large fails alone',
    maxStateBytes: 5_000,
    backend: class extends Mutant {
      override async write(writes: readonly StateWrite[]) {
        return (await super.write(writes)).toReversed();
      }
    },
  },
  'there is one outcome for a batch': {
    by: 'is stored and read in one call, in order',
    backend: class extends Mutant {
      override async write(writes: readonly StateWrite[]) {
        return (await super.write(writes)).slice(0, 1);
      }
    },
  },
  'a state that is too large is to be tried again': {
    by: 'exactly as many bytes are stored',
    maxStateBytes: 5_000,
    backend: class extends Mutant {
      override async write(writes: readonly StateWrite[]) {
        const outcomes = await super.write(writes);
        return outcomes.map((outcome) => (outcome.status === 'failed' ? { ...outcome, retryable: true } : outcome));
      }
    },
  },
  'a state that is too large fails the whole batch': {
    by: 'one that is too large fails alone',
    maxStateBytes: 5_000,
    backend: class extends Mutant {
      override async write(writes: readonly StateWrite[]) {
        const outcomes = await super.write(writes);
        const failure = outcomes.find(({ status }) => status === 'failed');
        return failure === undefined ? outcomes : outcomes.map(() => failure);
      }
    },
  },
  'a limit that is one byte lower': {
    by: 'exactly as many bytes are stored',
    maxStateBytes: 5_000,
    backend: class extends MemoryBackend {
      override readonly capabilities = { storesResults: true, push: true, maxStateBytes: 5_000 };
      constructor() {
        super({ maxStateBytes: 4_999 });
      }
    },
  },
  'states are read in the order of their UUIDs': {
    by: 'of reads answers in the order of what was asked',
    backend: class extends Mutant {
      override read(taskUuids: readonly string[]) {
        return super.read(taskUuids.toSorted());
      }
    },
  },
  'missing states are left out': {
    by: 'of reads answers in the order of what was asked',
    backend: class extends Mutant {
      override async read(taskUuids: readonly string[]) {
        return (await super.read(taskUuids)).filter((state) => state !== undefined);
      }
    },
  },
  'a UUID that is asked for twice is answered once': {
    by: 'of reads may ask for the same state several times',
    backend: class extends Mutant {
      override async read(taskUuids: readonly string[]) {
        const states = await super.read(taskUuids);
        return states.map((state, i) => (taskUuids.indexOf(taskUuids[i] as string) === i ? state : undefined));
      }
    },
  },
  'UUIDs are compared without case and spaces': {
    by: 'keeps tasks apart whose UUIDs',
    backend: class extends Mutant {
      override async read(taskUuids: readonly string[]) {
        const states = await super.read(taskUuids.map((uuid) => uuid.trim().toLowerCase()));
        return states.map((state, i) => state && { ...state, taskUuid: taskUuids[i] as string });
      }
      override write(writes: readonly StateWrite[]) {
        return super.write(
          writes.map(({ state, ...rest }) => ({
            ...rest,
            state: { ...state, taskUuid: state.taskUuid.trim().toLowerCase() },
          })),
        );
      }
    },
  },
  'a purge of many removes the first hundred': {
    by: 'removes as many tasks as it is given',
    backend: class extends Mutant {
      override purge({ tasks = [], ...rest }: Parameters<Backend['purge']>[0]) {
        return super.purge({ tasks: tasks.slice(0, 100), ...rest });
      }
    },
  },
  'answers of calls at once are mixed up': {
    by: 'each get their own answer',
    backend: class extends Mutant {
      #last: readonly string[] = [];
      override async read(taskUuids: readonly string[]) {
        this.#last = taskUuids;
        await turn();
        return super.read(this.#last);
      }
    },
  },
};

describe.concurrent('merging', () => testMutations(merging));
describe.concurrent('values', () => testMutations(values));
describe.concurrent('batches', () => testMutations(batches));
