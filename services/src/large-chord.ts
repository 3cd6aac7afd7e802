// A chord of a thousand members on workers in processes of their own, some of which are killed in the middle.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { type Backend, type Broker, chord, defineTask, int64, rest, Server, silentLogger } from '@machinery/core';
import { NodeProgram } from './node-program.ts';

interface LargeChordOptions {
  readonly adapters: string;
  /** How many of the workers are killed, each when as many members more have run. */
  readonly kills: number;
}

/** What was seen of it. */
interface LargeChord {
  /** The numbers with which the callback was called, each time: those of the members in their order, when all is well. */
  readonly callbacks: readonly (readonly number[])[];
  /** How often members ran. */
  readonly ran: number;
  /** How many workers were killed. */
  readonly killed: number;
}

type Report = { readonly ready: true } | { readonly member: number } | { readonly callback: readonly number[] };

interface Adapters {
  createBroker(queue: string): Broker;
  createBackend(queue: string): Backend;
}

const member = defineTask('member', { args: [int64], returns: int64 });
const callback = defineTask('callback', { args: rest(int64), returns: int64 });
const timeoutMs = 60_000;
const members = 1_000;
const workers = 4;

/**
 * The tests of it.
 *
 * @param adapters the file URL of JavaScript that exports `createBroker(queue)` and `createBackend(queue)`, for each process. How long it may take until
 * what a dead worker had comes again, in milliseconds, is TEST_LEASE_MS in the environment.
 */
export function testLargeChord(it: (name: string, run: () => Promise<void>) => void, adapters: string): void {
  const numbers = Array.from({ length: members }, (_, i) => i);

  it('calls back once, with all results in order', async () => {
    const { ran, callbacks } = await largeChord({ adapters, kills: 0 });
    assert.deepEqual(callbacks, [numbers]);
    assert.equal(ran, members);
  });

  it('calls back with all results in order though two of them are killed in the middle', async () => {
    const { killed, callbacks } = await largeChord({ adapters, kills: 2 });
    assert.equal(killed, 2);
    assert.ok(callbacks.length > 0);
    for (const given of callbacks) assert.deepEqual(given, numbers);
  });
}

/** Sends it, and answers when the callback's result is there. */
async function largeChord({ adapters, kills }: LargeChordOptions): Promise<LargeChord> {
  const queue = `chord-${randomUUID()}`;
  const callbacks: (readonly number[])[] = [];
  let [ready, ran, killed] = [0, 0, 0];
  let areReady = () => {};
  const allReady = new Promise<void>((resolve) => {
    areReady = resolve;
  });
  const onReport = (report: Report) => {
    if ('ready' in report && ++ready === workers) areReady();
    if ('callback' in report) callbacks.push(report.callback);
    if (!('member' in report)) return;
    const isTime = ++ran >= (members / (kills + 1)) * (killed + 1);
    if (isTime && killed < kills) void programs[killed++]?.kill();
  };
  const program = new URL('../programs/chord-worker.mjs', import.meta.url);
  const config = { adapters, queue, leaseMs: kills === 0 ? 20_000 : 2_000 };
  const programs = Array.from({ length: workers }, () => new NodeProgram<Report>({ program, config, onReport }));
  const { createBroker, createBackend } = (await import(/* @vite-ignore */ adapters)) as Adapters;
  const server = new Server({
    broker: createBroker(queue),
    backend: createBackend(queue),
    defaultQueue: queue,
    logger: silentLogger,
  });
  try {
    await Promise.race([allReady, ...programs.map(endedEarly)]);
    const numbers = Array.from({ length: members }, (_, i) => member(i));
    const result = await server.send(chord(numbers, callback.partial()));
    await result.get({ timeoutMs });
    return { callbacks, ran, killed };
  } finally {
    await server.close();
    await Promise.all(programs.map((one) => one.kill()));
  }
}

async function endedEarly({ ended }: NodeProgram<Report>): Promise<never> {
  throw new Error(`A worker ended with ${await ended} at its start`);
}
