// Thousands of tasks, whose workers are killed again and again: none is lost.

import process from 'node:process';
import { RedisBackend } from '@machinery/backend-redis';
import { within } from '@machinery/conformance';
import { defineTask, int64, Server, silentLogger } from '@machinery/core';
import { NodeProgram, redisServer, sqsServer } from '@machinery/services';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { counts, newName, open, raw } from './setup.ts';

const [sqs, redis] = await Promise.all([sqsServer(), redisServer()]);
process.env.SQS_TEST_URL = sqs.url;
if (redis !== undefined) process.env.REDIS_TEST_URL = redis.url;
afterAll(() => Promise.all([sqs.stop(), redis?.stop()]));

const tasks = 3_000;
const patienceMs = 120_000;

it.skipIf(redis === undefined)(
  `loses none of ${tasks} tasks while workers are killed`,
  { timeout: 2 * patienceMs },
  async () => {
    const queue = newName();
    const url = await sqs.createQueue(queue);
    const backend = new RedisBackend({ url: redis?.url as string });
    const server = new Server({ broker: open(sqs), backend, defaultQueue: queue, logger: silentLogger });
    onTestFinished(() => void server.close());
    const addTwo = defineTask('add two', { args: [int64], returns: int64 });

    let onProgress = () => {};
    const start = () => {
      const worker = { done: 0, program: undefined as unknown as NodeProgram<{ count: number }> };
      worker.program = new NodeProgram<{ count: number }>({
        program: new URL('crashes/worker.mjs', import.meta.url),
        config: { queue },
        onReport: ({ count }) => {
          worker.done = count;
          onProgress();
        },
      });
      return worker;
    };
    /** Kills a worker as soon as it has done something, and answers the one that takes its place. */
    const kill = async (worker: ReturnType<typeof start>) => {
      await within(
        patienceMs,
        'a worker to work',
        new Promise<void>((resolve) => {
          onProgress = () => worker.done > 50 && resolve();
          onProgress();
        }),
      );
      await worker.program.kill();
      return start();
    };

    let last = start();
    const sending = Promise.all(Array.from({ length: tasks }, (_, n) => server.send(addTwo(n))));
    for (let killed = 0; killed < 3; killed++) last = await kill(last);
    const results = await sending;
    const values = await within(patienceMs, 'all tasks to end', Promise.all(results.map((result) => result.get())));
    expect(values).toEqual(results.map((_, n) => n + 2));
    // What was done by a worker that could not say so any more is found done, and deleted
    const client = raw(sqs);
    await within(
      patienceMs,
      'the queue to be empty',
      (async () => {
        for (;;) {
          const { visible, inHand } = await counts(client, url);
          if (visible + inHand === 0) return;
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      })(),
    );
    await last.program.kill();
  },
);
