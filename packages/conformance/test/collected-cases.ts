// What the tests of the suites share: clients of an adapter in this process, and a runner that keeps the
// cases it is given.

import { overlay, type Runner } from '../src/index.ts';

/** The same adapter, except that closing it leaves it as it is for the others, as with connections to a server. */
export function clientOf<T extends { close(): Promise<void> }>(shared: T): T {
  return overlay(shared, { close: async () => {} } as Partial<T>);
}

export interface CollectedCase {
  readonly name: string;
  readonly run: () => Promise<void>;
}

/** The cases that a suite defines, with the names of what they are described by in front. */
export function casesOf(define: (runner: Runner) => void): readonly CollectedCase[] {
  const cases: CollectedCase[] = [];
  const path: string[] = [];
  const noHooks = () => {
    throw new Error('Expected the suite to need no hooks');
  };
  define({
    describe(name, defineCases) {
      path.push(name);
      defineCases();
      path.pop();
    },
    it(name, run) {
      cases.push({ name: [...path, name].join(': '), run });
    },
    before: noHooks,
    after: noHooks,
  });
  return cases;
}
