// The compiler takes these options, and refuses those.

import { Server, type Telemetry } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { metrics, trace } from '@opentelemetry/api';
import { B3Propagator } from '@opentelemetry/propagator-b3';
import { OpenTelemetry, type OpenTelemetryOptions } from '../src/index.ts';

const [broker, backend] = [new MemoryBroker(), new MemoryBackend()];
new Server({ broker, backend, telemetry: new OpenTelemetry() });
const all: Telemetry = new OpenTelemetry({
  tracerProvider: trace.getTracerProvider(),
  meterProvider: metrics.getMeterProvider(),
  propagator: new B3Propagator(),
  startsTrace: ({ name, headers }) => name === 'again' && headers?.tenant !== undefined,
});
const stop: (() => void) | undefined = new OpenTelemetry({}).observeQueue(broker, 'q');
void [all, stop];

// @ts-expect-error an unknown option
new OpenTelemetry({ propagators: [] });
// @ts-expect-error a propagator is an object
new OpenTelemetry({ propagator: 'b3' });
// @ts-expect-error it answers yes or no
new OpenTelemetry({ startsTrace: ({ name }) => name });
const options: OpenTelemetryOptions = {};
// @ts-expect-error options are read only
options.propagator = new B3Propagator();
