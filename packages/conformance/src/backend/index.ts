// The suite of result backends.

export type { BackendUnderTest } from './backend-under-test.ts';
export { testBackend } from './test-backend.ts';
