// Many tasks leave nothing behind: no memory, no channel, no queue, here and in the server.

import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Server, silentLogger } from '@machinery/core';
import { NullBackend } from '@machinery/core/memory';
import { controlledRabbit } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import { AmqpBroker } from '../src/index.ts';
import { newVhost } from './setup.ts';

const rabbit = await controlledRabbit();
const vhost = await newVhost(rabbit);
const url = `${rabbit?.url}/${vhost}`;
afterAll(() => rabbit?.stop());

const tasks = 10_000;
const mebibyte = 2 ** 20;
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

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
      const list = async (...what: string[]) => ((await rabbit?.ctl(...what)) ?? '').trim().split('\n');
      const [queues, channels] = [
        await list('list_queues', '--vhost', vhost, 'name'),
        await list('list_channels', 'vhost'),
      ];
      return { queues: queues.length, channels: channels.filter((name) => name === vhost).length };
    };
    const heapUsed = () => {
      collect();
      return process.memoryUsage().heapUsed;
    };
    await run(5_000); // until caches and code are warm
    const [before, heapBefore] = [await standing(), heapUsed()];
    await run(tasks);
    expect(await standing()).toEqual(before);
    expect(heapUsed() - heapBefore).toBeLessThan(mebibyte); // 100 bytes a task
  });
});
