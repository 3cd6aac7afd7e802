// Many tasks leave nothing behind: no memory, no channel, no queue, here and in the server.

import { setImmediate as turn } from 'node:timers/promises';
import { Server, silentLogger } from '@machinery/core';
import { NullBackend } from '@machinery/core/memory';
import { startRabbit } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import { AmqpBroker } from '../src/index.ts';

const rabbit = await startRabbit();
const url = rabbit?.url as string;
afterAll(() => rabbit?.stop());

const tasks = 50_000;
const mebibyte = 2 ** 20;

describe.skipIf(rabbit === undefined)(`${tasks} tasks on RabbitMQ`, { timeout: 120_000 }, () => {
  it('leave no memory, no channel and no queue behind', async () => {
    let done = 0;
    const newServer = () =>
      new Server({ broker: new AmqpBroker({ url }), backend: new NullBackend(), logger: silentLogger });
    await using sender = newServer();
    await using server = newServer();
    server.registerTask('count', () => void done++);
    await server.newWorker('worker', { concurrency: 100 }).start();
    const run = async (count: number) => {
      const until = done + count;
      for (let sent = 0; sent < count; sent += 500)
        await Promise.all(Array.from({ length: 500 }, () => sender.send({ name: 'count' })));
      while (done < until) await turn();
    };
    const standing = async () => {
      const list = async (what: string) => (await rabbit?.ctl(...what.split(' ')))?.trim().split('\n').length;
      return { queues: await list('list_queues name'), channels: await list('list_channels pid') };
    };
    await run(10_000); // until caches and code are warm
    const [before, heapBefore] = [await standing(), process.memoryUsage().heapUsed];
    await run(tasks);
    expect(await standing()).toEqual(before);
    expect(process.memoryUsage().heapUsed - heapBefore).toBeLessThan(60 * mebibyte); // what the collector has not come to
  });
});
