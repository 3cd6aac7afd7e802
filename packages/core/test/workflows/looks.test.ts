// A chord's members leave it to the last one in a worker's hands to look whether all are done. That one may have been
// finished by another worker before.

import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { header } from '../../src/headers.ts';
import { Server } from '../../src/server.ts';
import { defineTask } from '../../src/task.ts';
import { int64, rest } from '../../src/task-types.ts';
import { chord } from '../../src/workflow.ts';
import { type Gate, gate } from '../worker/journal.ts';
import { type TestServer, testServer } from '../worker/test-server.ts';

const sum = defineTask('sum', { args: rest(int64), returns: int64 });
const slow = defineTask('slow', { args: [int64], returns: int64 });
const quick = defineTask('quick', { args: [int64], returns: int64, retries: 1, backoff: { delayMs: 0 } });

let first: TestServer;
let second: Server;
let slowMayEnd: Gate;
beforeEach(() => {
  first = testServer();
  second = new Server({ broker: first.broker.memory, backend: first.backend.memory, defaultQueue: 'q' });
  onTestFinished(() => second.close());
  slowMayEnd = gate();
  for (const server of [first.server, second]) server.handle(sum, (_, ...terms) => terms.reduce((a, b) => a + b, 0));
  first.server.handle(slow, async (_, n) => {
    await slowMayEnd.opened;
    return n;
  });
  second.handle(quick, (_, n) => n);
});

/** Lets the first server's worker take both members, and no more. */
async function takeBoth() {
  const worker = await first.startWorker({ concurrency: 2 });
  const result = await first.server.send(chord([slow(1), quick(2)], sum.partial()));
  while (first.broker.inHand.size < 2) await new Promise(setImmediate);
  worker.pause();
  return result;
}

it('looks when the one that was left to look was tried again, and done, by another worker', async () => {
  const confirmed = gate();
  first.broker.onPublish = async (messages, next) => {
    const outcomes = await next();
    if (messages.some(({ signature }) => signature.headers?.[header.attempt] === '2')) await confirmed.opened;
    return outcomes;
  };
  first.server.handle(quick, () => {
    throw new Error('not yet');
  });
  const result = await takeBoth();
  await second.newWorker('second').start();
  await result.group.tasks[1]?.get();

  slowMayEnd.open();
  await result.group.tasks[0]?.get();
  confirmed.open();
  expect(await result.get({ timeoutMs: 5_000 })).toBe(3);
});

it('looks when the one that was left to look was lost to another worker', async () => {
  const lostMayEnd = gate();
  first.server.handle(quick, async (_, n) => {
    await lostMayEnd.opened;
    return n;
  });
  const isLost = ({ body }: { body: string }) => JSON.parse(body).Name === 'quick';
  const kept = <T extends { delivery: { body: string } }>(settled: readonly T[]) =>
    settled.filter(({ delivery }) => !isLost(delivery));
  first.broker.onConsume = async (next) => {
    const consumer = await next();
    return {
      ...consumer,
      owns: (delivery) => !isLost(delivery),
      exchange: (settled, ...more) => consumer.exchange(kept(settled), ...more),
      settle: (settled) => consumer.settle(kept(settled)),
    };
  };
  const result = await takeBoth();
  const body = [...first.broker.inHand].find(isLost)?.body as string;
  await first.broker.put(body);
  await second.newWorker('second').start();
  await result.group.tasks[1]?.get();

  slowMayEnd.open();
  await result.group.tasks[0]?.get();
  lostMayEnd.open();
  expect(await result.get({ timeoutMs: 5_000 })).toBe(3);
});
