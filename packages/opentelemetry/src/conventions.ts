// Names of OpenTelemetry's semantic conventions for messaging (https://opentelemetry.io/docs/specs/semconv/messaging/, version 1.45), copied
// because they are experimental: their package may rename them in any minor version. And names of our own beside them.

import type { Attributes } from '@opentelemetry/api';

export const attribute = {
  errorType: 'error.type',
  system: 'messaging.system',
  operationName: 'messaging.operation.name',
  operationType: 'messaging.operation.type',
  destination: 'messaging.destination.name',
  messageId: 'messaging.message.id',
  messageCount: 'messaging.batch.message_count',
  clientId: 'messaging.client.id',
  task: 'machinery.task.name',
  /** From 1. */
  attempt: 'machinery.task.attempt',
  /** How many more times a failure is tried again. */
  retriesLeft: 'machinery.task.retries_left',
  eta: 'machinery.task.eta',
  redelivered: 'machinery.task.redelivered',
  group: 'machinery.group.uuid',
  workflow: 'machinery.workflow.kind',
  periodicEntry: 'machinery.periodic.entry',
} as const;

export const metric = {
  sent: 'messaging.client.sent.messages',
  consumed: 'messaging.client.consumed.messages',
  sendDuration: 'messaging.client.operation.duration',
  processDuration: 'messaging.process.duration',
  redelivered: 'machinery.redelivered.messages',
  succeeded: 'machinery.succeeded.tasks',
  failed: 'machinery.failed.tasks',
  retried: 'machinery.retried.tasks',
  running: 'machinery.running.tasks',
  wait: 'machinery.queue.wait.duration',
  queueLength: 'machinery.queue.length',
} as const;

/** Buckets of durations, in seconds, as the conventions want them. */
export const durationBuckets = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

export type Operation = 'send' | 'process';

export function operationAttributes(operation: Operation, broker: string): Attributes {
  return {
    [attribute.system]: systems.get(broker) ?? broker,
    [attribute.operationName]: operation,
    [attribute.operationType]: operation,
  };
}

/** Well-known values of `messaging.system`; other brokers are named as they name themselves. */
const systems: ReadonlyMap<string, string> = new Map([
  ['@machinery/broker-amqp', 'rabbitmq'],
  ['@machinery/broker-redis', 'redis'],
  ['@machinery/broker-sqs', 'aws_sqs'],
  ['@machinery/broker-pubsub', 'gcp_pubsub'],
]);

/** A class of errors, of which there are few: the code of one of Machinery's, or the name of the thrown class. */
export function errorType(error: unknown): string {
  const { code, name } = (error ?? {}) as { readonly code?: unknown; readonly name?: unknown };
  if (typeof code === 'string' && /^[A-Z][A-Z\d_]*$/.test(code)) return code;
  return typeof name === 'string' && name !== '' ? name : '_OTHER';
}
