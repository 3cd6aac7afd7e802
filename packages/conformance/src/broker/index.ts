// The broker suite: what every broker must do, whatever its transport. A topic a file; see `broker-under-test.ts` for
// what it needs to know.

import type { Runner } from '../runner.ts';
import { aborting } from './aborting.ts';
import { bodies } from './bodies.ts';
import type { BrokerUnderTest } from './broker-under-test.ts';
import { capabilities } from './capabilities.ts';
import { closing } from './closing.ts';
import { consuming } from './consuming.ts';
import { deadMessages } from './dead-messages.ts';
import { delays } from './delays.ts';
import { eager } from './eager.ts';
import { givingBack } from './giving-back.ts';
import { listing } from './listing.ts';
import { publishing } from './publishing.ts';
import { requeuing } from './requeuing.ts';
import { settling } from './settling.ts';
import { sharing } from './sharing.ts';
import { register, type Topic } from './suite.ts';

export type { BrokerUnderTest, DeadRecord } from './broker-under-test.ts';

const topics: Record<string, Topic> = {
  'what it declares': capabilities,
  publishing,
  bodies,
  consuming,
  settling,
  requeuing,
  'dead messages': deadMessages,
  'giving back': givingBack,
  delays,
  'several consumers': sharing,
  'abort signals': aborting,
  listing,
  closing,
};

/** `publish` runs the tasks: there is no queue that any other topic could ask about. */
const eagerTopics: Record<string, Topic> = { 'what it declares': capabilities, 'running while publishing': eager };

/** Registers the cases that every broker passes: those that its capabilities and traits leave. */
export function testBroker(runner: Runner, underTest: BrokerUnderTest): void {
  for (const [name, topic] of Object.entries(underTest.declares.eager ? eagerTopics : topics))
    register(runner, `a broker: ${name}`, topic, underTest);
}
