// The broker and the backend in memory pass the suite, with results that are pushed and with results that are polled for.

import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { withoutPush } from '../src/faults/index.ts';
import { testWorkflows } from '../src/workflows/index.ts';
import { clientOf } from './collected-cases.ts';

const runner = { describe: describe.concurrent, it, before: beforeAll, after: afterAll };
const runs = Number(process.env.WORKFLOW_RUNS ?? 100);

describe('MemoryBroker and MemoryBackend', () => {
  const [broker, backend] = [new MemoryBroker(), new MemoryBackend()];
  testWorkflows(runner, { createBroker: () => clientOf(broker), createBackend: () => clientOf(backend), runs });
});

describe('MemoryBroker and a MemoryBackend that pushes nothing', () => {
  const [broker, backend] = [new MemoryBroker(), withoutPush(new MemoryBackend())];
  testWorkflows(runner, { createBroker: () => clientOf(broker), createBackend: () => clientOf(backend), runs });
});
