// What is refused.

import { expect, it } from 'vitest';
import { OpenTelemetry, type OpenTelemetryOptions } from '../src/index.ts';

it.each<[object, string]>([
  [{ propagators: [] }, 'OpenTelemetry: unknown option `propagators`'],
  [{ propagator: 'b3' }, 'OpenTelemetry: expected `propagator` to be an object, got `b3` (string)'],
  [{ startsTrace: true }, 'OpenTelemetry: expected `startsTrace` to be a function, got `true` (boolean)'],
  [{ tracerProvider: 1 }, 'OpenTelemetry: expected `tracerProvider` to be an object, got `1` (number)'],
])('%j', (options, message) => {
  expect(() => new OpenTelemetry(options as OpenTelemetryOptions)).toThrow(message);
});
