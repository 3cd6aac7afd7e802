// Workflows with messages on a real Redis and states on a real memcached, random ones among them; and a large chord.

import { RedisBroker } from '@machinery/broker-redis';
import { testWorkflows } from '@machinery/conformance';
import { chord, defineTask, int64, rest, Server, type Worker } from '@machinery/core';
import { redisServer, startMemcached } from '@machinery/services';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MemcacheBackend } from '../src/index.ts';
import { stopped } from './setup.ts';

const [redis, memcached] = await Promise.all([redisServer(), startMemcached()]);
stopped(redis);
stopped(memcached);

describe.skipIf(redis === undefined || memcached === undefined)('workflows on Redis and Memcached', () => {
  const [broker, backend] = [redis?.url as string, memcached?.url as string];
  testWorkflows(
    { describe, it, before: beforeAll, after: afterAll },
    {
      createBroker: () => new RedisBroker({ url: broker }),
      createBackend: () => new MemcacheBackend({ url: backend }),
      runs: 15,
    },
  );

  it('a chord of 1,000 on four workers calls back once, with all results in order', async () => {
    const id = defineTask('id', { args: [int64], returns: int64 });
    const order = defineTask('order', { args: rest(int64), returns: int64 });
    const calls: number[][] = [];
    const open = () =>
      new Server({
        broker: new RedisBroker({ url: broker }),
        backend: new MemcacheBackend({ url: backend }),
        defaultQueue: 'chord-of-1000',
      });
    const servers = Array.from({ length: 4 }, open);
    const workers: Worker[] = [];
    try {
      for (const [i, server] of servers.entries()) {
        server.handle(id, (_, n) => n);
        server.handle(order, (_, ...numbers) => calls.push(numbers.map(Number)));
        workers.push(server.newWorker(`worker-${i}`, { concurrency: 10 }));
      }
      await Promise.all(workers.map((worker) => worker.start()));
      const numbers = Array.from({ length: 1_000 }, (_, i) => i);
      const sent = await (servers[0] as Server).send(
        chord(
          numbers.map((n) => id(n)),
          order.partial(),
        ),
      );
      expect(await sent.get({ timeoutMs: 20_000 })).toBe(1);
      expect(calls).toEqual([numbers]);
    } finally {
      await Promise.all(servers.map((server) => server.close()));
    }
  }, 30_000);
});
