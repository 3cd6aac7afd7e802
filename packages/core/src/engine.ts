// What a server shares with its workers: its adapters and the parts between them. Made once, by `server.ts`.

import type { Backend } from './backend.ts';
import type { Broker } from './broker.ts';
import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';
import type { Registry } from './registry.ts';
import type { ResultWaiter } from './result-waiter.ts';
import type { Sender } from './sender.ts';
import type { StateWriter } from './state-writer.ts';
import type { SafeTelemetry } from './telemetry.ts';

export interface Engine {
  readonly broker: Broker;
  readonly backend: Backend;
  readonly clock: Clock;
  readonly defaultQueue: string;
  readonly logger: Logger;
  readonly telemetry: SafeTelemetry;
  readonly registry: Registry;
  readonly states: StateWriter;
  readonly sender: Sender;
  readonly results: ResultWaiter;
}
