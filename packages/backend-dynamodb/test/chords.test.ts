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
  it.each([
    ['100, together', 100, size, 0.1],
    ['1, together', 1, size, 0.1],
    ['1, one after another', 1, 1, 2],
  ])('costs few requests at concurrency %s', { timeout: 60_000 }, async (how, concurrency, together, writesEach) => {
    const { client, counts } = counted(endpoint);
    await using server = new Server({
      broker: new MemoryBroker(),
      backend: open({ client, createTables: false }),
      logger: silentLogger,
    });
    server.handle(echo, (_task, value) => value);
    await server.newWorker('worker', { concurrency }).start();
    const sent = together === 1 ? 50 : size;
    for (let i = 0; i < sent; i += together) {
      const results = await Promise.all(Array.from({ length: together }, () => server.send(echo(BigInt(i)))));
      await Promise.all(results.map((result) => result.get({ timeoutMs: 30_000 })));
    }
    console.log(`At concurrency ${how}: ${JSON.stringify(counts)} for ${sent} tasks`);
    const { BatchWriteItemCommand: writes = 0, BatchGetItemCommand: reads = 0, ...others } = counts;
    expect(writes / sent).toBeLessThanOrEqual(writesEach);
    expect(reads / sent).toBeLessThan(together === 1 ? 10 : 0.5); // waiters look more often when it takes longer
    expect(others.UpdateItemCommand ?? 0).toBeLessThan(sent / 2); // of those that take longer than 10 ms
  });
});
