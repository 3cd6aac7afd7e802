// The instruments, and what core's metrics become in them: counts as they are, milliseconds as seconds.

import type { Broker, Metric, MetricAttributes } from '@machinery/core';
import type { Attributes, Meter, ObservableGauge, ObservableResult } from '@opentelemetry/api';
import { attribute, durationBuckets, errorType, metric, operationAttributes } from './conventions.ts';

type Record = (value: number, attributes: Attributes) => void;

export class TaskMetrics {
  readonly #records: { readonly [M in Metric]: Record };
  readonly #sendDuration: Record;
  readonly #queueLength: ObservableGauge;

  constructor(meter: Meter) {
    const counter = (name: string, unit: string, description: string): Record => {
      const made = meter.createCounter(name, { unit, description });
      return (value, attributes) => made.add(value, attributes);
    };
    const seconds = (name: string, description: string): Record => {
      const advice = { explicitBucketBoundaries: durationBuckets };
      const made = meter.createHistogram(name, { unit: 's', description, advice });
      return (value, attributes) => made.record(value / 1_000, attributes);
    };
    const running = meter.createUpDownCounter(metric.running, { unit: '{task}', description: 'Attempts that run' });
    this.#queueLength = meter.createObservableGauge(metric.queueLength, {
      unit: '{message}',
      description: 'Messages that wait in a queue',
    });
    this.#sendDuration = seconds(metric.sendDuration, 'How long sending took');
    this.#records = {
      'task.sent': counter(metric.sent, '{message}', 'Messages that the broker has taken, retries and callbacks too'),
      'task.received': counter(metric.consumed, '{message}', 'Messages that came to a worker with their task'),
      'task.redelivered': counter(metric.redelivered, '{message}', 'Messages that had been delivered before'),
      'task.waited': seconds(metric.wait, 'How long tasks waited since they were sent, or since their ETA'),
      'task.running': (value, attributes) => running.add(value, attributes),
      'task.duration': seconds(metric.processDuration, 'How long attempts took'),
      'task.succeeded': counter(metric.succeeded, '{task}', 'Tasks that have succeeded'),
      'task.failed': counter(metric.failed, '{task}', 'Tasks that have failed for good'),
      'task.retried': counter(metric.retried, '{task}', 'Attempts after which the task is tried again'),
    };
  }

  record(name: Metric, value: number, { task, queue, broker, error }: MetricAttributes): void {
    this.#records[name](value, {
      ...operationAttributes(name === 'task.sent' ? 'send' : 'process', broker),
      [attribute.destination]: queue,
      [attribute.task]: task,
      ...(error !== undefined && { [attribute.errorType]: errorType(error) }),
    });
  }

  observeQueue(broker: Broker, queue: string): (() => void) | undefined {
    if (broker.countPending === undefined) return undefined;
    const { [attribute.system]: system } = operationAttributes('process', broker.name);
    const attributes = { [attribute.system]: system, [attribute.destination]: queue };
    const observe = async (result: ObservableResult) => {
      const length = await broker.countPending?.(queue);
      if (length !== undefined) result.observe(length, attributes);
    };
    this.#queueLength.addCallback(observe);
    return () => this.#queueLength.removeCallback(observe);
  }

  /** @param ms how long a send took, in milliseconds. */
  sent(ms: number, attributes: Attributes): void {
    this.#sendDuration(ms, attributes);
  }
}
