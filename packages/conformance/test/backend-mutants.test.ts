// Backends that break an obligation about watching, declaring or closing. The suite finds every one.

import { connect } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import {
  type BackendCapabilities,
  type GroupMeta,
  isFinal,
  type StateWrite,
  stored,
  type TaskState,
} from '@machinery/core';
import { MemoryBackend } from '@machinery/core/memory';
import { describe, expect, it } from 'vitest';
import { testBackend } from '../src/backend/index.ts';
import { failuresOf, handlesOn, Mutant, type Mutation, testMutations } from './backend-cases.ts';
import { casesOf } from './collected-cases.ts';

type Watcher = (state: TaskState) => void;

/** A watch in which `listen` decides what becomes of a call. */
const watching = (listen: (watcher: Watcher) => Watcher) =>
  class extends Mutant {
    override watch(taskUuid: string, listener: Watcher) {
      return super.watch(taskUuid, listen(listener));
    }
  };

const watches: Record<string, Mutation> = {
  'a watcher is called twice': {
    by: 'calls once, with the final state that another instance writes',
    backend: watching((listener) => (state) => {
      listener(state);
      listener(state);
    }),
  },
  'a watcher is never called': {
    by: 'calls once, with the final state that the same instance writes',
    backend: watching(() => () => {}),
  },
  'a watcher is told a state without its results': {
    by: 'calls once, with the final state that another instance writes',
    backend: watching(
      (listener) =>
        ({ results: _, ...state }) =>
          listener(state),
    ),
  },
  'a watcher is told of states that are not final': {
    by: 'calls once, with the final state that another instance writes',
    backend: class extends Mutant {
      readonly #watchers = new Map<string, Watcher>();
      override watch(taskUuid: string, listener: Watcher) {
        this.#watchers.set(taskUuid, listener);
        return super.watch(taskUuid, listener);
      }
      override write(writes: readonly StateWrite[]) {
        for (const { state } of writes) if (state.state === 'STARTED') this.#watchers.get(state.taskUuid)?.(state);
        return super.write(writes);
      }
    },
  },
  'a watcher is told what the writer knew': {
    by: 'tells the name and time of sending that are kept',
    backend: watching((listener) => (state) => listener({ ...state, taskName: '' })),
  },
  'there is one watcher for a task': {
    by: 'tells every watcher of a task',
    backend: class extends Mutant {
      readonly #stops = new Map<string, () => void>();
      override watch(taskUuid: string, listener: Watcher) {
        this.#stops.get(taskUuid)?.();
        const stop = super.watch(taskUuid, listener);
        this.#stops.set(taskUuid, stop);
        return stop;
      }
    },
  },
  'a watcher cannot stop': {
    by: 'ends for the watcher that stops',
    backend: class extends Mutant {
      override watch(taskUuid: string, listener: Watcher) {
        super.watch(taskUuid, listener);
        return () => {};
      }
    },
  },
  'the same function watches once': {
    by: 'ends for the watcher that stops',
    backend: class extends Mutant {
      readonly #watchers = new Map<Watcher, () => void>();
      override watch(taskUuid: string, listener: Watcher) {
        const stop = this.#watchers.get(listener) ?? super.watch(taskUuid, listener);
        this.#watchers.set(listener, stop);
        return stop;
      }
    },
  },
  'a watcher that throws ends the call for the others': {
    by: 'tells the others when a watcher throws',
    backend: class extends Mutant {
      #broken = false;
      override watch(taskUuid: string, listener: Watcher) {
        return super.watch(taskUuid, (state) => {
          if (this.#broken) return;
          try {
            listener(state);
          } catch {
            this.#broken = true;
          }
        });
      }
    },
  },
  'a watcher is told what was there before': {
    by: 'tells nothing of a final state from before',
    backend: class extends Mutant {
      override watch(taskUuid: string, listener: Watcher) {
        void this.now(taskUuid).then((state) => state && isFinal(state.state) && listener(state));
        return super.watch(taskUuid, listener);
      }
    },
  },
};

const declarations: Record<string, Mutation> = {
  'it declares what it cannot': {
    by: 'it declares what it must',
    backend: class extends Mutant {
      override readonly capabilities: BackendCapabilities = { storesResults: true, push: true, readConsumes: true };
    },
  },
  'it has another version': {
    by: 'it is written for this version',
    backend: class extends Mutant {
      override readonly contractVersion = 2 as 1;
    },
  },
  'an optional method is missing': {
    by: 'it has an optional method exactly if it declares it',
    backend: class extends Mutant {
      override readonly watch = undefined as never;
    },
  },
  'attach connects': {
    by: 'attaching it to several servers opens no connection',
    backend: class extends Mutant {
      override attach() {
        connect({ host: '127.0.0.1', port: 9 }).on('error', () => {});
      }
    },
  },
  'it can be closed once': {
    by: 'may be called again, at once and later',
    fails: /close to be called once/,
    backend: class extends Mutant {
      #isClosed = false;
      override async close() {
        if (this.#isClosed) throw new Error('Expected close to be called once');
        this.#isClosed = true;
      }
    },
  },
  'it is read after it was closed': {
    by: 'makes every other call reject',
    backend: class extends Mutant {
      override async close() {}
    },
  },
  'it takes states after it was closed': {
    by: 'makes writes fail for good',
    backend: class extends Mutant {
      #isClosed = false;
      override async write(writes: readonly StateWrite[]) {
        return this.#isClosed ? writes.map(() => stored) : super.write(writes);
      }
      override async close() {
        this.#isClosed = true;
        await super.close();
      }
    },
  },
  'a call under way when it is closed never ends': {
    by: 'lets calls under way end',
    backend: class extends Mutant {
      #isClosed = false;
      override async initGroup(meta: GroupMeta, expiresInSeconds: number) {
        await turn();
        if (this.#isClosed) await new Promise(() => {});
        await super.initGroup(meta, expiresInSeconds);
      }
      override async close() {
        this.#isClosed = true;
      }
    },
  },
};

describe.concurrent('watching', () => testMutations(watches));
describe.concurrent('declaring and closing', () => testMutations(declarations));

it('a capability that is declared away, by adapter and test alike, is found in the table', async () => {
  class Lesser extends MemoryBackend {
    override readonly capabilities = { storesResults: true };
    override readonly watch = undefined as never;
  }
  const create = handlesOn(() => new Lesser());
  const cases = casesOf((runner) => testBackend(runner, { create, declares: { storesResults: true } }));
  const failures = await failuresOf(cases.filter(({ name }) => name.startsWith('what it says of itself')));
  expect([...failures.keys()]).toEqual([
    'what it says of itself: one of our own declares what the table of our own adapters says',
  ]);
});
