// Chords of a thousand members on four workers, each in a process of its own, on a real Redis; and what a task costs.

import process from 'node:process';
import { bigInt64, defineTask, Server, silentLogger } from '@machinery/core';
import { MemoryBroker } from '@machinery/core/memory';
import { dynamoServer, redisServer, testLargeChord } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import { counted, open, stopped } from './setup.ts';

const redis = await redisServer();
const { endpoint } = stopped(await dynamoServer());
afterAll(() => redis?.stop());
await open({ endpoint }).read(['creates the tables']);

const echo = defineTask('echo', { args: [bigInt64], returns: bigInt64 });
const size = 1_000;

describe.skipIf(redis === undefined)(`a chord of ${size} on four workers`, { timeout: 120_000 }, () => {
  Object.assign(process.env, { REDIS_TEST_URL: redis?.url, DYNAMODB_TEST_ENDPOINT: endpoint });
  const adapters = new URL('crashes/adapters.mjs', import.meta.url).href;
  testLargeChord(it, adapters);
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
