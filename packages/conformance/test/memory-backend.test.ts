// The backends of core pass the suite.

import { MemoryBackend, NullBackend } from '@machinery/core/memory';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { testBackend } from '../src/backend/index.ts';
import { handlesOn } from './backend-cases.ts';

const runner = { describe, it, before: beforeAll, after: afterAll };

describe('MemoryBackend', () => {
  testBackend(runner, { create: handlesOn(() => new MemoryBackend()), declares: { storesResults: true, push: true } });
});

describe('MemoryBackend with a limit', () => {
  const maxStateBytes = 5_000;
  testBackend(runner, {
    create: handlesOn(() => new MemoryBackend({ maxStateBytes })),
    declares: { storesResults: true, push: true, maxStateBytes },
    limitsByOptions: { maxStateBytes },
  });
});

describe('NullBackend', () => {
  testBackend(runner, { create: () => new NullBackend(), declares: { storesResults: false } });
});
