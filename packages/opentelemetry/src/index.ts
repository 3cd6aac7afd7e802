// What @machinery/opentelemetry exports.

export { OpenTelemetry, type OpenTelemetryOptions } from './open-telemetry.ts';
