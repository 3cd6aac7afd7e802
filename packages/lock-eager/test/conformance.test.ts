// The eager lock passes the suite. It lives in one process, so the suite gets handles on one object.

import { testLock } from '@machinery/conformance';
import type { Lock } from '@machinery/core';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { EagerLock } from '../src/index.ts';

const lock = new EagerLock();
const create = (): Lock => ({
  contractVersion: lock.contractVersion,
  name: lock.name,
  acquire: (key, expiresAtNs) => lock.acquire(key, expiresAtNs),
  close: async () => {},
});

describe('EagerLock', () => {
  testLock({ describe, it, before: beforeAll, after: afterAll }, { create });
});
