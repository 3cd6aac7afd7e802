// The suite of workflows: chains, groups and chords on a broker and a backend, topic by topic.

import assert from 'node:assert/strict';
import type { Runner } from '../runner.ts';
import { testAbortedWorkers } from './aborted-workers.ts';
import { testCounting } from './counting.ts';
import { testExpiry } from './expiry.ts';
import { testFailingCalls } from './failing-calls.ts';
import { testOrders } from './orders.ts';
import { testOutages } from './outages.ts';
import { testRandomWorkflows } from './random-workflows.ts';
import { testRefusals } from './refusals.ts';
import { testResults } from './results.ts';
import { testSending } from './sending.ts';
import { WorkflowSuite, type WorkflowsUnderTest } from './workflows-under-test.ts';

/**
 * Defines the cases that a broker and a result backend have to pass together, against real servers. Every case uses a
 * queue and UUIDs of its own, so other suites may use the servers at the same time.
 */
export function testWorkflows(runner: Runner, underTest: WorkflowsUnderTest): void {
  const suite = new WorkflowSuite(runner, underTest);
  suite.describe('the backend', () => {
    suite.many(
      `${suite.chords ? 'stores' : 'does not store'} results so that workers can complete chords`,
      async () => {
        const { storesResults, readConsumes, takesGroups } = await suite.backendCapabilities();
        assert.equal(storesResults && (readConsumes !== true || takesGroups === true), suite.chords);
        assert.equal(takesGroups ?? false, suite.takesGroups);
      },
      suite.patienceMs,
    );
  });
  testRefusals(suite);
  testSending(suite);
  testResults(suite);
  testOrders(suite);
  testExpiry(suite);
  testRandomWorkflows(suite);
  testFailingCalls(suite);
  testAbortedWorkers(suite);
  testOutages(suite);
  testCounting(suite);
}
