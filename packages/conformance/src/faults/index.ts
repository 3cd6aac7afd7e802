// Adapters that fail on purpose, for the tests of adapters and of programs.

export type { CallFault, Fault, Faults, Moment, Outage, RandomFaults } from './faults.ts';
export { type BackendCall, FaultyBackend } from './faulty-backend.ts';
export { type BrokerCall, FaultyBroker } from './faulty-broker.ts';
export { seededRandom } from './seeded-random.ts';
export { withoutPush } from './without-push.ts';
