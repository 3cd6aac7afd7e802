// How the topics of the suite register their cases: each gets a scene of its own, which is closed after it. What a broker
// cannot do by its capabilities or traits is not registered at all, so that nothing is skipped in silence by a runner.

import type { BrokerCapabilities } from '@machinery/core';
import type { Runner } from '../runner.ts';
import type { BrokerUnderTest } from './broker-under-test.ts';
import { Scene } from './scene.ts';

/** What a topic gets. */
export interface Suite {
  readonly underTest: BrokerUnderTest;
  readonly capabilities: BrokerCapabilities;
  /** Queues have an order. */
  readonly ordered: boolean;
  /** Each `create` is a broker on the same server. */
  readonly shared: boolean;
  /** The broker can delay a message for so long. */
  delays(ms: number): boolean;
  /** Registers a case. Its name is a sentence about the broker. */
  it(name: string, run: (scene: Scene) => Promise<void>): void;
}

export type Topic = (suite: Suite) => void;

/** The longest case waits so many times: for steps, and for messages of a consumer that vanished. */
const longestSteps = 6;
const longestRedeliveries = 2;

/** Registers the cases of a topic, if there are any: a suite without cases is an error in some runners. */
export function register(runner: Runner, name: string, topic: Topic, underTest: BrokerUnderTest): void {
  const cases: (() => void)[] = [];
  topic(suiteOf((...it) => cases.push(() => runner.it(...it)), underTest));
  if (cases.length === 0) return;
  runner.describe(name, () => {
    for (const define of cases) define();
  });
}

function suiteOf(it: Runner['it'], underTest: BrokerUnderTest): Suite {
  const { declares } = underTest;
  const limits = new Scene(underTest);
  const timeoutMs = longestSteps * limits.patienceMs + longestRedeliveries * limits.redeliveryMs;
  return {
    underTest,
    capabilities: declares,
    ordered: underTest.unordered !== true,
    shared: underTest.inProcess !== true,
    delays: (ms) => (declares.maxDelayMs ?? Number.POSITIVE_INFINITY) >= ms,
    it: (name, run) => it(name, () => play(underTest, run), timeoutMs),
  };
}

async function play(underTest: BrokerUnderTest, run: (scene: Scene) => Promise<void>): Promise<void> {
  const scene = new Scene(underTest);
  let failed = true;
  try {
    await scene.open();
    await run(scene);
    failed = false;
  } finally {
    // What the case found says more than what closing finds after it.
    await (failed ? scene.close().catch(() => {}) : scene.close());
  }
}
