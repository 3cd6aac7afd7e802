// The brokers of core's memory engine pass the suite of brokers.

import { EagerBroker, MemoryBroker } from '@machinery/core/memory';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { testBroker } from '../src/broker/index.ts';
import { declaredBrokers } from '../src/declared-brokers.ts';
import type { Runner } from '../src/runner.ts';

const runner: Runner = { describe, it, before: beforeAll, after: afterAll };
const memory = declaredBrokers['@machinery/core/memory MemoryBroker'] ?? {};
const limits = { maxMessageBytes: 10_000, maxDelayMs: 60_000 };

describe('MemoryBroker', () =>
  testBroker(runner, {
    create: () => new MemoryBroker(),
    declares: memory,
    inProcess: true,
    deadMessages: async (broker, queue) => (broker as MemoryBroker).deadMessages(queue),
  }));

describe('MemoryBroker with all limits set', () =>
  testBroker(runner, {
    create: () => new MemoryBroker({ ...limits, maxQueueLength: 2_000, maxDeadMessages: 10 }),
    declares: { ...memory, ...limits },
    inProcess: true,
    deadMessages: async (broker, queue) => (broker as MemoryBroker).deadMessages(queue),
  }));

describe('EagerBroker', () =>
  testBroker(runner, { create: () => new EagerBroker(), declares: { eager: true }, inProcess: true }));
