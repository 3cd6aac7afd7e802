// The failpoints on the memory engine, which lives in a process of its own for this.

import { afterAll, beforeAll, describe, it } from 'vitest';
import { testFailpoints } from '../src/failpoints/index.ts';
import { startMemoryServer } from './memory-server/start-server.ts';

let stopServer: () => Promise<void>;
beforeAll(async () => {
  stopServer = await startMemoryServer();
});
afterAll(() => stopServer());

const runner = { describe, it, before: beforeAll, after: afterAll };
const adapters = new URL('memory-server/adapters.mjs', import.meta.url).href;
testFailpoints(runner, { name: 'memory engine', adapters });

// A chord needs its members' states.
const noChords = {
  ...runner,
  describe: (name: string, define: () => void) => name.includes('chord') || describe(name, define),
};
const blind = new URL('memory-server/blind-adapters.mjs', import.meta.url).href;
testFailpoints(noChords, { name: 'memory engine without looking back', adapters: blind });
