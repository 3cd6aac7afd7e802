// The suite finds what it is there for: each mutant of the memory broker fails the case that was written for it.

import type { BrokerCapabilities } from '@machinery/core';
import { describe, expect, it } from 'vitest';
import { testBroker } from '../src/broker/index.ts';
import { declaredBrokers } from '../src/declared-brokers.ts';
import { consuming } from './broker-mutants-consuming.ts';
import { whole } from './broker-mutants-declaring.ts';
import { publishing } from './broker-mutants-publishing.ts';
import { settling } from './broker-mutants-settling.ts';
import { innerOf, type Mutant, type Mutants, mutate } from './broker-mutate.ts';

const mutants: Mutants = { ...settling, ...consuming, ...publishing, ...whole };

const memory: BrokerCapabilities = declaredBrokers['@machinery/core/memory MemoryBroker'] ?? {};

/** The cases of the suite, by name. */
function casesFor(create: Mutant['create'], options: Mutant['options'] = {}, declares = memory) {
  const cases = new Map<string, () => Promise<void>>();
  const noHook = () => {};
  const runner = {
    describe: (_: string, define: () => void) => define(),
    it(name: string, run: () => Promise<void>) {
      expect(cases, 'names are unique').not.toContain(name);
      cases.set(name, run);
    },
    before: noHook,
    after: noHook,
  };
  testBroker(runner, {
    create,
    declares: { ...declares, ...options },
    inProcess: true,
    deadMessages: async (broker, queue) => innerOf(broker).deadMessages(queue),
    patienceMs: 250,
  });
  return cases;
}

describe('a mutant that', () => {
  it.each(Object.entries(mutants))('%s is found', async (_, { create, foundBy, options }) => {
    const run = casesFor(create, options).get(foundBy);
    expect(run, `There is no case "${foundBy}"`).toBeDefined();
    await expect(run?.()).rejects.toThrow();
  });
});

it.each<[string, BrokerCapabilities]>([
  ['a capability', { listPending: true, listDelayed: true }],
  ['a limit that is no option', { ...memory, maxPublishBatch: 1 }],
])('the table finds %s that is declared away with the tests of its adapter', async (_, less) => {
  const create = mutate({ broker: () => ({ capabilities: less }) });
  const cases = casesFor(create, {}, less);
  await expect(
    cases.get('declares what the table of our own brokers says, if it is one of them')?.(),
  ).rejects.toThrow();
  await cases.get('declares what it must, before and after it was used')?.();
});

describe('the same wrapper without a change', () => {
  const names = new Set(Object.values(mutants).map(({ foundBy }) => foundBy));
  for (const options of [undefined, { maxMessageBytes: 10_000 }]) {
    for (const [name, run] of casesFor(mutate(options === undefined ? {} : { options }), options))
      if (names.has(name)) it(`${name}${options ? ', with limits' : ''}`, run);
  }
});
