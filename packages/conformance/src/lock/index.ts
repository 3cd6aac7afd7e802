// The suite of locks.

export type { LockUnderTest } from './lock-under-test.ts';
export { testLock } from './test-lock.ts';
