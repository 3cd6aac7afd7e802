// The failpoints find what they are for: adapters with a known defect fail the cases that it concerns.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testFailpoints } from '../src/failpoints/index.ts';
import type { Runner } from '../src/index.ts';
import { startMemoryServer } from './memory-server/start-server.ts';

let stopServer: () => Promise<void>;
beforeAll(async () => {
  stopServer = await startMemoryServer();
});
afterAll(() => stopServer());

type Outcome = { readonly failure?: string };

/** Runs one case of the suite against adapters with `defect`; answers the first line of its failure. */
async function runCase(scenario: string, failpoint: string, defect: string): Promise<Outcome> {
  process.env.MACHINERY_MEMORY_DEFECT = defect;
  const adapters = new URL('memory-server/defective-adapters.mjs', import.meta.url).href;
  let suite = '';
  let run: (() => Promise<void>) | undefined;
  const runner: Runner = {
    describe(name, define) {
      suite = name;
      define();
    },
    it(name, body) {
      if (suite.includes(`: ${scenario} survives`) && name === failpoint) run = body;
    },
    before() {},
    after() {},
  };
  testFailpoints(runner, { name: 'defective', adapters, patienceMs: 1_500, concurrency: 1 });
  if (run === undefined) throw new Error(`No case ${failpoint} of ${scenario}`);
  return run().then(
    () => ({}),
    (error: Error) => ({ failure: error.message.split('\n')[0] as string }),
  );
}

describe('the failpoints find', () => {
  it.each([
    ['acks at take', 'a task', 'after-take of work', /^Expected task work to end within/],
    ['acks at take', 'a chain', 'after-state:SUCCESS of second', /^Expected task third to end within/],
    ['forgets redelivered', 'a task', 'after-state:SUCCESS of work', /^Expected task work to run 1 time\(s\).*got 2$/],
    [
      'forgets redelivered',
      'a task that is tried again',
      'after-state:RETRY of work',
      /^Expected task work to run 2 time/,
    ],
    ['never acks', 'a task', 'after-take of work', /^Expected no message to come back/],
    ['publishes later', 'a chain', 'after-ack of first', /^Expected task (second|third) to end within/],
    [
      'publishes twice',
      'a chain',
      'after-take of second',
      /^Expected task (first|second|third) to run 1 time\(s\).*got [2-4]$/,
    ],
    ['stores later', 'a task', 'after-state:SUCCESS of work', /^Expected task work to run 1 time\(s\).*got 2$/],
    [
      'stores later',
      'a task that fails',
      'after-state:FAILURE of work',
      /^Expected task work to run 1 time\(s\).*got 2$/,
    ],
    ['flags a chord when it is claimed', 'a chord', 'after-claim of third', /^Expected task callback to end within/],
    ['gives the claim once', 'a chord', 'after-claim of third', /^Expected task callback to end within/],
  ])('a broker or backend that %s: %s, killed %s', async (defect, scenario, failpoint, failure) => {
    expect((await runCase(scenario, failpoint, defect)).failure).toMatch(failure);
  });
});
