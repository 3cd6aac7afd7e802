// What @machinery/conformance exports: a suite for each contract of core, the table of what our own adapters must declare,
// and what the suites are made of, for tests beyond them.

export { type BackendUnderTest, testBackend } from './backend/index.ts';
export { type BrokerUnderTest, type DeadRecord, testBroker } from './broker/index.ts';
export { declaredBackends } from './declared-backends.ts';
export { declaredBrokers, limitsByOption } from './declared-brokers.ts';
export {
  type AdaptersModule,
  backendPoints,
  brokerPoints,
  type Failpoint,
  type FailpointName,
  type FailpointOptions,
  testFailpoints,
} from './failpoints/index.ts';
export * from './faults/index.ts';
export { type LockUnderTest, testLock } from './lock/index.ts';
export { overlay } from './overlay.ts';
export { type Runner, within } from './runner.ts';
export { testWorkflows, type WorkflowsUnderTest } from './workflows/index.ts';
