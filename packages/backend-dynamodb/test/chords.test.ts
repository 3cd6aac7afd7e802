// Chords of a thousand members on four workers, each in a process of its own, on a real Redis; and what a task costs.

import process from 'node:process';
import { RedisBroker } from '@machinery/broker-redis';
import { bigInt64, chord, defineTask, rest, Server, silentLogger } from '@machinery/core';
import { MemoryBroker } from '@machinery/core/memory';
import { dynamoServer, NodeProgram, redisServer } from '@machinery/services';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { counted, newUuid, open, stopped } from './setup.ts';

const redis = await redisServer();
const { endpoint } = stopped(await dynamoServer());
afterAll(() => redis?.stop());
await open({ endpoint }).read(['creates the tables']);

const echo = defineTask('echo', { args: [bigInt64], returns: bigInt64 });
const sum = defineTask('sum', { args: rest(bigInt64), returns: bigInt64 });
const size = 1_000;

interface Report {
  readonly ready?: true;
  readonly ran?: number;
  readonly sum?: number;
}

describe.skipIf(redis === undefined)(`a chord of ${size} on four workers`, { timeout: 120_000 }, () => {
  process.env.REDIS_TEST_URL = redis?.url;
  process.env.DYNAMODB_TEST_ENDPOINT = endpoint;

  it.each([
    ['calls back once', 0],
    ['calls back though two of them are killed in the middle', 2],
  ])('%s', async (_, kills) => {
    const queue = newUuid();
    let [ready, ran] = [0, 0];
    const sums: number[] = [];
    const left: NodeProgram<Report>[] = [];
    const program = new URL('crashes/worker.mjs', import.meta.url);
    const onReport = (report: Report) => {
      if (report.ready) ready++;
      if (report.sum !== undefined) sums.push(report.sum);
      if (report.ran !== undefined && ++ran % 300 === 0 && ran / 300 <= kills) void left.pop()?.kill();
    };
    for (let i = 0; i < 4; i++) left.push(new NodeProgram({ program, config: { queue }, onReport }));
    const all = [...left];
    onTestFinished(() => Promise.all(all.map((worker) => worker.kill())).then(() => {}));
    await expect.poll(() => ready, { timeout: 60_000 }).toBe(4);
    await using server = new Server({
      broker: new RedisBroker({ url: redis?.url as string }),
      backend: open({ endpoint }),
      defaultQueue: queue,
      logger: silentLogger,
    });
    const members = Array.from({ length: size }, (_, i) => echo(BigInt(i)));
    const result = await server.send(chord(members, sum.partial()));
    expect(await result.get({ timeoutMs: 60_000 })).toBe(BigInt((size * (size - 1)) / 2));
    expect(new Set(sums)).toEqual(new Set([size]));
    if (kills === 0) expect([sums, ran]).toEqual([[size], size]);
    else expect(left).toHaveLength(4 - kills);
  });
});

describe('a task', () => {
  /** Requests for each of a thousand tasks that are sent together. */
  it.each([
    [100, 0.15],
    [1, 0.15],
  ])('costs a share of few requests at concurrency %i', { timeout: 60_000 }, async (concurrency, most) => {
    const { client, counts } = counted(endpoint);
    await using server = new Server({
      broker: new MemoryBroker(),
      backend: open({ client, createTables: false }),
      logger: silentLogger,
    });
    server.handle(echo, (_task, value) => value);
    await server.newWorker('worker', { concurrency }).start();
    const results = await Promise.all(Array.from({ length: size }, (_, i) => server.send(echo(BigInt(i)))));
    await Promise.all(results.map((result) => result.get({ timeoutMs: 30_000 })));
    const { BatchWriteItemCommand: writes = 0, ...others } = counts;
    console.log(`at concurrency ${concurrency}: ${JSON.stringify(counts)} for ${size} tasks`);
    expect(writes / size).toBeLessThan(most);
    expect(others.UpdateItemCommand ?? 0).toBeLessThan(size / 10);
  });
});
