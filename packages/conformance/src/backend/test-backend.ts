// The suite of a result backend: the executable form of core's `Backend` contract, topic by topic.

import type { Runner } from '../runner.ts';
import { BackendSuite, type BackendUnderTest } from './backend-under-test.ts';
import { testBatches } from './batches.ts';
import { testChordClaims } from './chord-claims.ts';
import { testClosing } from './closing.ts';
import { testConcurrentWrites } from './concurrent-writes.ts';
import { testContract } from './contract.ts';
import { testExpiry } from './expiry.ts';
import { testGroups } from './groups.ts';
import { testMerging } from './merging.ts';
import { testRoundTrips } from './round-trips.ts';
import { testStoringNothing } from './storing-nothing.ts';
import { testTakingGroups } from './taking-groups.ts';
import { testWatching } from './watching.ts';

/**
 * Defines the cases that a result backend has to pass, against a real server. Every case uses UUIDs of its own, so other
 * suites may use the server at the same time; nothing is cleaned up, as everything expires within two minutes.
 */
export function testBackend(runner: Runner, underTest: BackendUnderTest): void {
  const suite = new BackendSuite(runner, underTest);
  testContract(suite, underTest.limitsByOptions);
  if (!underTest.declares.storesResults) {
    testStoringNothing(suite);
    return;
  }
  testRoundTrips(suite);
  testMerging(suite);
  testBatches(suite);
  testConcurrentWrites(suite);
  testExpiry(suite);
  testGroups(suite);
  testChordClaims(suite);
  if (underTest.declares.takesGroups === true) testTakingGroups(suite);
  if (underTest.declares.push === true) testWatching(suite);
  testClosing(suite);
}
