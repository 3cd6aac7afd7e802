// The systems, by the broker that they are measured on. A new one is a program that answers the requests (see the README) and a row here.

import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { buildGo } from './go.ts';

export type BrokerName = 'redis' | 'amqp';

export interface SystemRow {
  readonly name: string;
  readonly title: string;
  /** The command line of its program; undefined where it cannot be had. */
  readonly program: () => readonly [string, ...string[]] | undefined;
  readonly config?: object;
  /** Sender and worker are one process. */
  readonly oneProcess?: boolean;
  readonly noRedis?: boolean;
  readonly needsRabbit?: boolean;
  /** Its results are queues, thousands of them, that nobody else shall have. */
  readonly leavesQueues?: boolean;
  /** The part of each cell's tasks that it is given, as it is slow. Default: 1. */
  readonly share?: number;
  /** Cells or their families, all others or only these. */
  readonly lacks?: readonly string[];
  readonly only?: readonly string[];
}

// Compiled, also when this is not.
const node = (name: string) => () =>
  [process.execPath, fileURLToPath(new URL(`../dist/programs/${name}.js`, import.meta.url))] as const;
const go = (name: string) => () => buildGo(name);
/** Cells that ask Redis what happened there. */
const ofRedis = ['memory', 'commands'];

const onRedis: readonly SystemRow[] = [
  { name: 'machinery', title: 'Machinery', program: node('machinery') },
  {
    name: 'machinery-one-thread',
    title: 'Machinery, one thread',
    program: node('machinery'),
    config: { maxBlockedMs: 0 },
    only: ['memory'],
  },
  { name: 'bullmq', title: 'BullMQ', program: node('bullmq') },
  {
    name: 'asynq',
    title: 'asynq',
    program: go('asynq'),
    config: { pollMs: 1 },
    lacks: ['enqueue-bulk', 'chord'],
  },
  { name: 'go-machinery', title: 'Go Machinery', program: go('machinery'), lacks: ['enqueue-bulk'] },
  {
    name: 'go-machinery-1ms',
    title: 'Go Machinery, 1 ms poll',
    program: go('machinery'),
    config: { pollMs: 1, normalTasksPollPeriod: 1 },
    only: ['latency'],
  },
  { name: 'raw', title: 'raw loop', program: node('raw'), oneProcess: true, only: ['drain-100'] },
  {
    name: 'memory',
    title: 'Machinery in memory',
    program: node('machinery'),
    oneProcess: true,
    noRedis: true,
    lacks: ['crash', 'memory', 'commands'],
  },
];

const onRabbit: readonly SystemRow[] = [
  { name: 'machinery', title: 'Machinery, results in Redis', program: node('machinery'), lacks: ofRedis },
  {
    name: 'machinery-prefetch',
    title: 'the same, prefetch 1,000',
    program: node('machinery'),
    config: { prefetch: 1_000 },
    only: ['drain'],
  },
  {
    name: 'machinery-amqp',
    title: 'Machinery, results in RabbitMQ',
    program: node('machinery'),
    config: { results: 'amqp' },
    noRedis: true,
    leavesQueues: true,
    share: 0.25,
    only: ['drain-100'],
  },
  {
    name: 'go-machinery',
    title: 'Go Machinery, results in Redis',
    program: go('machinery'),
    lacks: [...ofRedis, 'enqueue-bulk', 'delayed'],
  },
  {
    name: 'go-machinery-amqp',
    title: 'Go Machinery, results in RabbitMQ',
    program: go('machinery'),
    config: { results: 'amqp' },
    noRedis: true,
    leavesQueues: true,
    share: 0.05,
    only: ['drain-100'],
  },
  {
    name: 'raw',
    title: 'raw amqplib',
    program: node('raw-amqp'),
    oneProcess: true,
    noRedis: true,
    only: ['enqueue', 'drain'],
  },
].map((row) => ({ ...row, needsRabbit: true }));

export const systems: { readonly [broker in BrokerName]: readonly SystemRow[] } = { redis: onRedis, amqp: onRabbit };

/** Whether a name is one of these, or of a family of them: `drain-100` is of `drain`. */
export function isOneOf(name: string, names: readonly string[]): boolean {
  return names.some((one) => name === one || name.startsWith(`${one}-`));
}

export function runs(system: SystemRow, cell: string): boolean {
  return system.only ? isOneOf(cell, system.only) : !isOneOf(cell, system.lacks ?? []);
}
