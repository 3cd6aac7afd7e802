// What the suites need of a test runner. node:test, vitest, jest and mocha all have it under these names, or (vitest, jest)
// as beforeAll and afterAll.

import { AssertionError } from 'node:assert';

/**
 * The functions of a test runner. Suites may run beside each other, and so may the cases of one (vitest: `describe.concurrent`), when each adapter
 * that is created is one of its own and the server has the breath for them.
 */
export interface Runner {
  describe(name: string, define: () => void): void;
  /** `timeoutMs` is for runners that take a limit as the third argument; node:test ignores it and has no limit of its own. */
  it(name: string, run: () => Promise<void>, timeoutMs?: number): void;
  before(run: () => Promise<void>): void;
  after(run: () => Promise<void>): void;
}

/** Rejects with an AssertionError that says what was waited for, when `promise` takes longer than `timeoutMs` milliseconds. */
export async function within<T>(timeoutMs: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new AssertionError({ message: `Expected ${what} within ${timeoutMs} ms` })),
      timeoutMs,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
