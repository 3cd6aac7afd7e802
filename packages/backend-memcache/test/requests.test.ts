// What a task costs: commands by the server's own count, and requests by what a client sent at once.

import { defineTask, int64, Server } from '@machinery/core';
import { MemoryBroker } from '@machinery/core/memory';
import { type StartedMemcached, startMemcached, tcpProxy } from '@machinery/services';
import { describe, expect, it, onTestFinished } from 'vitest';
import { MemcacheBackend } from '../src/index.ts';
import { stopped } from './setup.ts';

const memcached = stopped(await startMemcached()) as StartedMemcached;

describe.skipIf(memcached === undefined)('a task', () => {
  it.each([
    { concurrency: 100, tasks: 1_000, atOnce: 1_000, maxRequests: 0.2 },
    { concurrency: 1, tasks: 200, atOnce: 1, maxRequests: 6 },
  ])(
    'costs two commands and at most $maxRequests requests at concurrency $concurrency, and reads of who waits',
    async ({ concurrency, tasks, atOnce, maxRequests }) => {
      const proxy = await tcpProxy({ to: memcached.port });
      onTestFinished(() => proxy.close());
      const server = new Server({
        broker: new MemoryBroker(),
        backend: new MemcacheBackend({ url: `memcache://127.0.0.1:${proxy.port}` }),
      });
      onTestFinished(() => server.close());
      const add = defineTask('add', { args: [int64, int64], returns: int64 });
      server.handle(add, (_, a, b) => a + b);
      await server.newWorker('worker', { concurrency }).start();
      const before = await memcached.stats();
      proxy.pieces = 0;
      for (let i = 0; i < tasks; i += atOnce) {
        const sent = await Promise.all(Array.from({ length: atOnce }, () => server.send(add(i, 1))));
        await Promise.all(sent.map((result) => result.get({ timeoutMs: 20_000 })));
      }
      const after = await memcached.stats();
      const per = (name: string) => ((after[name] as number) - (before[name] as number)) / tasks;
      const requests = proxy.pieces;
      console.log(
        `concurrency ${concurrency}: ${per('cmd_set')} sets, ${per('cmd_get')} reads, ${requests / tasks} requests for a task`,
      );
      expect(per('cmd_set')).toBe(2); // PENDING and SUCCESS
      expect(requests / tasks).toBeLessThan(maxRequests);
    },
  );
});
