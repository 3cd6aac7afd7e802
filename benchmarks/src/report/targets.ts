// What this project wants to reach: ratios of medians of one run, so that machines matter little.

import type { Run } from '../run.ts';
import type { BrokerName } from '../systems.ts';
import { number, summary } from './summary.ts';

export interface Target {
  readonly title: string;
  readonly bound: string;
  check(run: Run): { readonly measured: string; readonly reached?: boolean };
}

type Place = readonly [cell: string, metric: string, system?: string];

/** One number as a multiple of another. */
function ratio(title: string, sign: '≥' | '≤' | '<', bound: number, [cell, metric, system]: Place, to: Place): Target {
  return {
    title,
    bound: `${sign} ${number(bound)}×`,
    check(run) {
      const one = summary(run, system ?? 'machinery', cell, metric);
      const other = summary(run, to[2] ?? 'machinery', to[0], to[1]);
      if (one === undefined || other === undefined || one.atLeast) return { measured: '' };
      const share = one.median / other.median;
      // What took more than its limit makes the share smaller still.
      const reached = meets(share, sign, bound);
      if (other.atLeast && !reached) return { measured: `< ${number(share)}×` };
      return { measured: `${other.atLeast ? '< ' : ''}${number(share)}×`, reached };
    },
  };
}

function absolute(title: string, bound: number, unit: string, [cell, metric]: Place): Target {
  return {
    title,
    bound: `≤ ${number(bound)} ${unit}`,
    check(run) {
      const one = summary(run, 'machinery', cell, metric);
      if (one === undefined) return { measured: '' };
      const measured = `${one.atLeast ? '> ' : ''}${number(one.median)} ${unit}`;
      return { measured, reached: !one.atLeast && one.median <= bound };
    },
  };
}

function meets(value: number, sign: '≥' | '≤' | '<', bound: number): boolean {
  if (sign === '≥') return value >= bound;
  return sign === '≤' ? value <= bound : value < bound;
}

/** The same cell and metric of this project and of another. */
function against(title: string, sign: '≥' | '≤' | '<', bound: number, place: Place, system: string): Target {
  return ratio(title, sign, bound, place, [place[0], place[1], system]);
}

const faster = (title: string, cell: string, bound: number, system: string) =>
  against(title, '≥', bound, [cell, 'rate'], system);

const onRedis: readonly Target[] = [
  faster('drain at 100, to BullMQ', 'drain-100', 3.5, 'bullmq'),
  faster('drain at 100, to Go Machinery', 'drain-100', 7, 'go-machinery'),
  faster('drain at 100, to asynq', 'drain-100', 6, 'asynq'),
  faster('drain at 100, to the raw loop', 'drain-100', 1.2, 'raw'),
  faster('drain at 10, to BullMQ', 'drain-10', 2.5, 'bullmq'),
  faster('drain at 10, to Go Machinery', 'drain-10', 4.5, 'go-machinery'),
  faster('drain at 1, to BullMQ', 'drain-1', 1.3, 'bullmq'),
  faster('drain at 1, to Go Machinery', 'drain-1', 3, 'go-machinery'),
  faster('enqueue in bulk, to BullMQ', 'enqueue-bulk', 2.5, 'bullmq'),
  faster('enqueue one at a time, to BullMQ', 'enqueue-one', 1.2, 'bullmq'),
  faster('end to end, to BullMQ', 'end-to-end', 3, 'bullmq'),
  faster('end to end, to Go Machinery', 'end-to-end', 3, 'go-machinery'),
  against(
    'latency to the result, p50, to Go Machinery with a 1 ms poll',
    '<',
    1,
    ['latency', 'result50'],
    'go-machinery-1ms',
  ),
  against('latency to the result, p99, to BullMQ', '<', 1, ['latency', 'result99'], 'bullmq'),
  against('chord of 1,000, time to BullMQ', '≤', 1 / 3, ['chord-1000', 'ms'], 'bullmq'),
  against('chord of 1,000, time to Go Machinery', '≤', 1 / 20, ['chord-1000', 'ms'], 'go-machinery'),
  ratio('chord of 10,000, time to a chord of 1,000', '≤', 12, ['chord-10000', 'ms'], ['chord-1000', 'ms']),
  absolute('delayed tasks, lateness, p99', 20, 'ms', ['delayed', 'late99']),
  absolute('delayed tasks, early', 0, 'tasks', ['delayed', 'early']),
  against('memory of the worker, to BullMQ', '<', 1, ['memory', 'worker'], 'bullmq'),
  ratio(
    'memory of the worker without the thread for beats, to BullMQ',
    '<',
    1,
    ['memory', 'worker', 'machinery-one-thread'],
    ['memory', 'worker', 'bullmq'],
  ),
  against('Redis, a queued task, to Go Machinery', '≤', 0.6, ['memory', 'queued'], 'go-machinery'),
  against('Redis, a queued task, to asynq', '<', 1, ['memory', 'queued'], 'asynq'),
  absolute('crash: lost', 0, 'tasks', ['crash', 'lost']),
  // A second is what the rest of the tasks takes.
  absolute('crash: kill → all done', 31, 's', ['crash', 'seconds']),
];

const onRabbit: readonly Target[] = [
  faster('drain at 100, results in Redis, to Go Machinery', 'drain-100', 2.5, 'go-machinery'),
  faster('drain at 100, results in Redis, to raw amqplib', 'drain-100', 0.6, 'raw'),
  ratio(
    'the same with prefetch 1,000',
    '≥',
    0.6,
    ['drain-100', 'rate', 'machinery-prefetch'],
    ['drain-100', 'rate', 'raw'],
  ),
  ratio(
    'drain at 100, results in RabbitMQ, to Go Machinery',
    '≥',
    20,
    ['drain-100', 'rate', 'machinery-amqp'],
    ['drain-100', 'rate', 'go-machinery-amqp'],
  ),
  faster('enqueue, 100 in flight, to raw amqplib', 'enqueue-flight', 0.6, 'raw'),
  faster('enqueue in bulk, to raw amqplib', 'enqueue-bulk', 0.6, 'raw'),
  absolute('delayed tasks, lateness, p99', 50, 'ms', ['delayed', 'late99']),
  absolute('delayed tasks, early', 0, 'tasks', ['delayed', 'early']),
  absolute('1,000 delayed tasks due at once, until the last begins', 1_000, 'ms', ['delayed-burst', 'lateMost']),
  absolute('1,000 delayed tasks due at once, early', 0, 'tasks', ['delayed-burst', 'early']),
];

export const targets: { readonly [broker in BrokerName]: readonly Target[] } = { redis: onRedis, amqp: onRabbit };
