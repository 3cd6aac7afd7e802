import { defineConfig } from 'vitest/config';

// For the example of tests only: the tests of the examples are run from the root of the repository.
export default defineConfig({ test: { include: ['src/testing/vitest.test.ts'] } });
