// Servers that have too little: items that are too small, memory, connections, or what this backend needs. And eviction.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineTask, Server, silentLogger, string } from '@machinery/core';
import { MemoryBroker } from '@machinery/core/memory';
import { startMemcached } from '@machinery/services';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { MemcacheBackend } from '../src/index.ts';
import { groupOf, newUuid, open, stopped, write } from './setup.ts';

const folder = mkdtempSync(join(tmpdir(), 'machinery-memcached-'));
afterAll(() => rmSync(folder, { recursive: true }));
writeFileSync(join(folder, 'users'), 'user:secret\n');
const start = async (...settings: string[]) => stopped(await startMemcached({ settings }));
const [large, small, tiny, full, crowded, guarded, blind] = await Promise.all([
  start('-I', '4m', '-m', '100'),
  start('-I', '512k'),
  start('-m', '2', '-o', 'no_lru_maintainer'), // or what is read often is kept
  start('-M', '-m', '2'),
  start('-c', '64', '-t', '1'),
  start('-Y', join(folder, 'users')),
  start('-C'),
]);
function serverOn(url: string): Server {
  const backend = new MemcacheBackend({ url });
  const server = new Server({ broker: new MemoryBroker(), backend, logger: silentLogger });
  onTestFinished(() => server.close());
  return server;
}
const text = (length: number) => ({ results: [{ type: 'string', value: 'x'.repeat(length) }] });

describe.skipIf(large === undefined)('a memcached', () => {
  it('with a higher limit for items takes larger states', async () => {
    const backend = open({ url: large?.url as string, maxStateBytes: 4_145_000 });
    const success = write(newUuid(), 'SUCCESS', text(4_144_000));
    expect(await backend.write([success])).toEqual([{ status: 'stored' }]);
    expect(await backend.read([success.state.taskUuid])).toEqual([success.state]);
    expect(await backend.write([write(newUuid(), 'SUCCESS', text(4_145_000))])).toMatchObject([
      { status: 'failed', retryable: false, error: { code: 'ERR_MACHINERY_STATE_TOO_LARGE' } },
    ]);
  });

  it('with a lower one refuses a state, and the error says what to do', async () => {
    const backend = open({ url: small?.url as string });
    const [fits, tooLarge, merged] = [newUuid(), newUuid(), newUuid()];
    const outcomes = await backend.write([
      write(tooLarge, 'SUCCESS', text(700_000)),
      write(fits, 'SUCCESS'),
      write(merged, 'RETRY', { error: 'x'.repeat(700_000) }),
    ]);
    const refused = {
      status: 'failed',
      retryable: false,
      error: { code: 'ERR_MACHINERY_STATE_TOO_LARGE', message: expect.stringContaining('its option -I') },
    };
    expect(outcomes).toMatchObject([refused, { status: 'stored' }, refused]);
    await expect(backend.initGroup(groupOf(Array(20_000).fill(newUuid())), 60)).rejects.toMatchObject(refused.error);
  });

  it('with a lower one makes a task whose result is too large a FAILURE that says so', async () => {
    const repeat = defineTask('repeat', { args: [string], returns: string });
    const server = serverOn(small?.url as string);
    server.handle(repeat, (_, value) => value.repeat(700_000));
    await server.newWorker('worker').start();
    const result = await server.send(repeat('x'));
    await expect(result.get({ timeoutMs: 5_000 })).rejects.toThrow('its option -I');
  });

  it('that evicts what somebody waits for is an error for who waits', async () => {
    const never = defineTask('never', { args: [string], returns: string });
    const result = await serverOn(tiny?.url as string).send(never('x'));
    const waiting = result.get({ timeoutMs: 20_000 }).catch((error: unknown) => error);
    const backend = open({ url: tiny?.url as string });
    for (let i = 0; i < 20; i++)
      await backend.write(Array.from({ length: 500 }, () => write(newUuid(), 'PENDING', { taskName: 'never' })));
    expect((await tiny?.stats())?.evictions).toBeGreaterThan(0);
    expect(await waiting).toMatchObject({ code: 'ERR_MACHINERY_RESULT_EXPIRED' });
  });

  it('that is full and may not evict is as if it were away', async () => {
    const backend = open({ url: full?.url as string });
    let outcome: unknown;
    for (let i = 0; i < 100; i++) [outcome] = await backend.write([write(newUuid(), 'SUCCESS', text(90_000))]);
    expect(outcome).toMatchObject({
      status: 'failed',
      retryable: true,
      error: { code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE', message: expect.stringContaining('out of memory') },
    });
  });

  it('that has too many connections is as if it were away', async () => {
    const backends = Array.from({ length: 80 }, () => open({ url: crowded?.url as string }));
    const answers = await Promise.allSettled(backends.map((backend) => backend.read(['x'])));
    const refused = answers.filter(({ status }) => status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.length).toBeLessThan(80);
    for (const { reason } of refused as PromiseRejectedResult[])
      expect(reason).toMatchObject({ code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' });
  });

  it('that wants a password is refused in words', async () => {
    const backend = open({ url: guarded?.url as string });
    const refused = {
      code: 'ERR_MACHINERY_BACKEND_FAILED',
      message: expect.stringMatching(/CLIENT_ERROR .*authentic/),
    };
    await expect(backend.read(['x'])).rejects.toMatchObject(refused);
    expect(await backend.write([write(newUuid(), 'PENDING')])).toMatchObject([
      { status: 'failed', retryable: false, error: refused },
    ]);
  });

  it('that runs without CAS is refused in words', async () => {
    const backend = open({ url: blind?.url as string });
    const group = groupOf(['task_1']);
    await backend.initGroup(group, 60);
    await expect(backend.claimChord(group.groupUuid, 'task_1')).rejects.toMatchObject({
      code: 'ERR_MACHINERY_BACKEND_FAILED',
      message: expect.stringContaining('without CAS'),
    });
  });
});
