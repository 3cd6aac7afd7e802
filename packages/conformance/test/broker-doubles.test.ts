// The suite lets brokers pass that are as the contract allows, and finds what only several brokers on a server can get wrong.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testBroker } from '../src/broker/index.ts';
import { doubleOf, type Habits } from './broker-doubles.ts';

const listing = { deliveryCount: true, listPending: true, listDelayed: true };
const runner = { describe: describe.concurrent, it, before: beforeAll, after: afterAll };

const transports: Record<string, Habits> = {
  'asks a shared server, as with Redis': { declares: listing },
  'is pushed to, as with AMQP': { declares: { pushes: true }, countsRequeues: true },
  'has no order and small batches, as with SQS': {
    declares: { deliveryCount: true, maxDelayMs: 43_200_000, maxMessageBytes: 262_144, maxPublishBatch: 10 },
    unordered: true,
    countsRequeues: true,
    prepared: true,
  },
  'is pushed to without order, delays or counts, as with Pub/Sub': {
    declares: { pushes: true, maxDelayMs: 0, maxMessageBytes: 1_000_000 },
    unordered: true,
    countsRequeues: true,
    flagsFirstDeliveries: true,
    prepared: true,
  },
};
for (const [what, habits] of Object.entries(transports))
  describe(`a double that ${what}`, () => testBroker(runner, doubleOf(habits)));

const faults: [NonNullable<Habits['fault']>, string][] = [
  ['keeps after close', 'gives back what the consumers of a broker had that is closed'],
  ['closes all', 'leaves the other brokers alone when one is closed'],
  ['hurries', 'answers what is being published before it is closed'],
  ['delays by itself', 'holds delays by the server: they survive their producer'],
  ['forgets the crashed', 'delivers again, in order and as redeliveries, what a consumer had that vanished'],
  ['no flag', 'delivers again, in order and as redeliveries, what a consumer had that vanished'],
];
describe('a double with a fault', () => {
  it.each(faults)('%s is found', async (fault, foundBy) => {
    let found: (() => Promise<void>) | undefined;
    const register = (name: string, run: () => Promise<void>) => {
      if (name === foundBy) found = run;
    };
    const collect = { describe: (_: string, define: () => void) => define(), it: register, before() {}, after() {} };
    testBroker(collect as never, doubleOf({ declares: listing, fault, patienceMs: 300, redeliveryMs: 300 }));
    expect(found).toBeDefined();
    await expect(found?.()).rejects.toThrow();
  });
});
