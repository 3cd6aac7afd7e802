// A server that goes away, comes back, stands still or has no memory.

import type { TaskState } from '@machinery/core';
import { type StartedRedis, startRedis } from '@machinery/services';
import { afterEach, describe, expect, it } from 'vitest';
import type { RedisBackend } from '../src/index.ts';
import { newUuid, open, outcome, raw, stopped, until, write } from './setup.ts';

const redis = stopped(await startRedis()) as StartedRedis;

describe.skipIf(redis === undefined)('a server', () => {
  const { url } = redis ?? {};
  let isAway = false;
  const away = async () => {
    isAway = true;
    await redis.kill();
  };
  const back = async () => {
    isAway = false;
    await redis.start();
  };
  afterEach(async () => {
    if (isAway) await back();
  });
  const works = (backend: RedisBackend) =>
    until(async () => (await backend.write([write(newUuid(), 'SUCCESS')]))[0]?.status === 'stored');
  const channels = async () => (await raw({ url: url as string }).pubsub('CHANNELS', 'machinery:*')) as string[];

  it('that is away fails a write at once, to be tried again, and everything works when it is back', async () => {
    const backend = open({ url: url as string });
    await backend.read(['connects']);
    await away();
    for (const state of ['SUCCESS', 'STARTED'] as const) {
      const { answer, tookMs } = await outcome(backend.write([write(newUuid(), state), write(newUuid(), state)]));
      const failure = { status: 'failed', retryable: true, error: { code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' } };
      expect(answer).toMatchObject([failure, failure]);
      expect(tookMs).toBeLessThan(2_000);
    }
    const group = { groupUuid: newUuid('group'), taskUuids: [], chordTriggered: false, lock: false };
    const calls = [
      backend.read(['x']),
      backend.purge({ tasks: ['x'] }),
      backend.initGroup(group, 60),
      backend.readGroup(group.groupUuid),
      backend.renewGroup(group.groupUuid, 60),
      backend.claimChord(group.groupUuid, 'x'),
      backend.finishChord(group.groupUuid),
    ];
    for (const { code, message, tookMs } of await Promise.all(calls.map(outcome))) {
      expect(code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
      expect(message).toMatch(/^Redis could not /);
      expect(tookMs).toBeLessThan(2_000);
    }
    await back();
    await works(backend);
    await backend.initGroup(group, 60);
    expect(await backend.claimChord(group.groupUuid, 'x')).toBe('claimed'); // the scripts are gone, too
  });

  it('that was never there is an error that says so', async () => {
    await away();
    const backend = open({ url: url as string });
    const { code, message, tookMs } = await outcome(backend.read(['x']));
    expect([code, message]).toEqual([
      'ERR_MACHINERY_BACKEND_UNAVAILABLE',
      expect.stringContaining('Redis could not read states'),
    ]);
    expect(tookMs).toBeLessThan(2_000);
    await backend.close();
  });

  it('that was away pushes again to who waited before', async () => {
    const backend = open({ url: url as string });
    const uuid = newUuid();
    const ended = new Promise<TaskState>((resolve) => backend.watch(uuid, resolve));
    await until(async () => (await channels()).includes(`machinery:done:${uuid}`));
    await away();
    await back();
    await until(async () => (await channels()).includes(`machinery:done:${uuid}`));
    await works(backend);
    await backend.write([write(uuid, 'SUCCESS')]);
    expect(await ended).toEqual(write(uuid, 'SUCCESS').state);
    await until(async () => (await channels()).length === 0);
  });

  it('that was away pushes to who began to wait meanwhile', async () => {
    const backend = open({ url: url as string });
    await away();
    const uuid = newUuid();
    const ended = new Promise<TaskState>((resolve) => backend.watch(uuid, resolve));
    expect((await outcome(backend.read([uuid]))).code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
    await back();
    await until(async () => (await channels()).includes(`machinery:done:${uuid}`));
    await works(backend);
    await backend.write([write(uuid, 'SUCCESS')]);
    expect(await ended).toEqual(write(uuid, 'SUCCESS').state);
    await until(async () => (await channels()).length === 0);
  });

  it('that was away keeps no subscription of who gave up meanwhile', async () => {
    const backend = open({ url: url as string });
    const [given, kept] = [newUuid(), newUuid()];
    const stop = backend.watch(given, () => {});
    const stopKept = backend.watch(kept, () => {});
    await until(async () => (await channels()).length === 2);
    await away();
    stop();
    expect((await outcome(backend.read(['x']))).code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
    await back();
    await until(async () => (await channels()).join() === `machinery:done:${kept}`);
    stopKept();
    await until(async () => (await channels()).length === 0);
  });

  it('that stands still counts as away after the time for an answer', async () => {
    const backend = open({ url: url as string, commandTimeoutMs: 200 });
    await backend.read(['connects']);
    await redis.kill('SIGSTOP');
    try {
      const [read, written] = await Promise.all([
        outcome(backend.read(['x'])),
        outcome(backend.write([write(newUuid(), 'SUCCESS')])),
      ]);
      expect(read.code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
      expect(written.answer).toMatchObject([{ status: 'failed', retryable: true }]);
      expect(Math.max(read.tookMs, written.tookMs)).toBeLessThan(1_000);
    } finally {
      await redis.kill('SIGCONT');
    }
    await works(backend);
  });

  it('that is away does not keep a backend from closing', async () => {
    const backend = open({ url: url as string });
    backend.watch(newUuid(), () => {});
    await backend.read(['connects']);
    await away();
    const { tookMs } = await outcome(backend.close());
    expect(tookMs).toBeLessThan(2_000);
  });

  it('without memory fails a write, to be tried again, and says why', async () => {
    const full = stopped(
      await startRedis({ settings: ['--maxmemory', '1mb', '--maxmemory-policy', 'noeviction'] }),
    ) as StartedRedis;
    const backend = open({ url: full.url });
    // The first states have room
    const large = write(newUuid(), 'SUCCESS', { results: [{ type: 'string', value: 'x'.repeat(2_000_000) }] });
    await backend.write([large]);
    for (const state of ['SUCCESS', 'STARTED'] as const) {
      const [result] = await backend.write([write(newUuid(), state)]);
      expect(result).toMatchObject({
        status: 'failed',
        retryable: true,
        error: { code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE', message: expect.stringContaining('OOM') },
      });
    }
    expect(await backend.read(['x'])).toEqual([undefined]);
    await raw({ url: full.url }).config('SET', 'maxmemory', '100mb');
    await works(backend);
  });
});
