// What the lock suite is told.

import type { Lock } from '@machinery/core';

/** A lock to test, on a server that runs. */
export interface LockUnderTest {
  /** A new lock on the same server, each time it is called. The suite closes what it made. */
  create(): Lock | Promise<Lock>;
  /** How long any one call may take, in milliseconds. Default: 10,000. */
  readonly patienceMs?: number;
}
