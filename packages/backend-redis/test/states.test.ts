// Writers of one state, closing, and options.

import type { StateName } from '@machinery/core';
import { redisServer } from '@machinery/services';
import { describe, expect, it } from 'vitest';
import { RedisBackend, type RedisBackendOptions } from '../src/index.ts';
import { newUuid, open, outcome, raw, sentAt, stopped, write } from './setup.ts';

const redis = stopped(await redisServer());

describe.skipIf(redis === undefined)('states', () => {
  const url = redis?.url as string;

  it.each(Array.from({ length: 5 }, (_, i) => i + 1))('are merged by 20 writers at once, round %i', async () => {
    const taskUuid = newUuid();
    const backends = Array.from({ length: 20 }, () => open({ url }));
    await backends[0]?.write([write(taskUuid, 'PENDING')]);
    const names: readonly StateName[] = ['RECEIVED', 'STARTED', 'RETRY', 'SUCCESS'];
    const writes = backends.map((backend, i) => {
      const name = names[i % 4] as StateName;
      const { createdAt, taskName, ...state } = write(taskUuid, name).state;
      // Half of them know neither name nor time, as Go's on Memcache; but without a time nobody knows whether it is late.
      const known = i % 8 < 4 || name !== 'SUCCESS' ? { createdAt: sentAt } : {};
      return backend.write([{ state: { ...state, taskName: i % 8 < 4 ? 'add' : '', ...known }, expiresInSeconds: 60 }]);
    });
    expect(await Promise.all(writes)).toEqual(Array(20).fill([{ status: 'stored' }]));
    expect(await backends[0]?.read([taskUuid])).toEqual([write(taskUuid, 'SUCCESS').state]);
  });

  it('that lose change nothing, not even the expiry', async () => {
    const taskUuid = newUuid();
    const backend = open({ url });
    await backend.write([write(taskUuid, 'SUCCESS')]);
    const before = await raw({ url }).get(taskUuid);
    await backend.write([{ ...write(taskUuid, 'STARTED'), expiresInSeconds: 600 }]);
    expect(await raw({ url }).get(taskUuid)).toBe(before);
    expect(await raw({ url }).ttl(taskUuid)).toBeLessThanOrEqual(60);
  });

  it('are written and read by the thousand', async () => {
    const uuids = Array.from({ length: 1_000 }, () => newUuid());
    const backend = open({ url });
    const outcomes = await backend.write(uuids.map((uuid) => write(uuid, 'SUCCESS')));
    expect(outcomes.every(({ status }) => status === 'stored')).toBe(true);
    expect(await backend.read([...uuids, 'not there'])).toEqual([
      ...uuids.map((uuid) => write(uuid, 'SUCCESS').state),
      undefined,
    ]);
    await backend.purge({ tasks: uuids });
    expect(await backend.read(uuids)).toEqual(uuids.map(() => undefined));
  });

  it('that are being written when the backend is closed are stored, or say that they are not', async () => {
    for (const state of ['SUCCESS', 'STARTED'] as const) {
      for (const warm of [true, false]) {
        const backend = open({ url });
        const uuids = Array.from({ length: 100 }, () => newUuid());
        if (warm) await backend.read(['connects']);
        const writing = backend.write(uuids.map((uuid) => write(uuid, state)));
        await backend.close();
        const outcomes = await writing;
        const there = await Promise.all(uuids.map((uuid) => raw({ url }).exists(uuid)));
        for (const [i, result] of outcomes.entries()) {
          if (result.status === 'stored') expect(there[i]).toBe(1);
          else expect(result).toMatchObject({ status: 'failed' });
        }
        if (warm) expect(outcomes.every(({ status }) => status === 'stored')).toBe(true);
      }
    }
  });
});

describe.skipIf(redis === undefined)('a closed backend', () => {
  const url = redis?.url as string;

  it('says so to every call, and holds no connection', async () => {
    const backend = open({ url, clientName: newUuid() });
    await backend.read(['connects']);
    await Promise.all([backend.close(), backend.close()]);
    const stop = backend.watch('x', () => {});
    const group = { groupUuid: 'x', taskUuids: [], chordTriggered: false, lock: false };
    const calls = [
      backend.read(['x']),
      backend.purge({ tasks: ['x'] }),
      backend.initGroup(group, 60),
      backend.readGroup('x'),
      backend.renewGroup('x', 60),
      backend.claimChord('x', 'y'),
      backend.finishChord('x'),
    ];
    for (const call of calls) expect((await outcome(call)).code).toBe('ERR_MACHINERY_CLOSED');
    const failure = { status: 'failed', retryable: false, error: { code: 'ERR_MACHINERY_CLOSED' } };
    expect(await backend.write([write('x', 'SUCCESS'), write('x', 'STARTED')])).toMatchObject([failure, failure]);
    stop();
  });

  it('does not connect again, even for a watch', async () => {
    const clientName = newUuid();
    const backend = open({ url, clientName });
    await backend.read(['connects']);
    expect(await raw({ url }).client('LIST')).toContain(clientName);
    await backend.close();
    backend.watch('x', () => {});
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(await raw({ url }).client('LIST')).not.toContain(clientName);
  });

  it('leaves a client that was given open, and as it was', async () => {
    const client = raw({ url });
    await client.set('before', '1');
    const backend = new RedisBackend({ client });
    const uuid = newUuid();
    await backend.write([write(uuid, 'SUCCESS')]);
    backend.watch(uuid, () => {})();
    await backend.close();
    expect(client.status).toBe('ready');
    expect(await client.get(uuid)).toContain('SUCCESS');
  });

  it('takes a client that has not connected, and does not connect it', async () => {
    const client = raw({ url });
    const backend = open({ client });
    expect(await backend.read([newUuid()])).toEqual([undefined]);
    expect(client.status).toBe('wait');
  });
});

describe('options', () => {
  const url = 'redis://127.0.0.1:1';
  const invalid = (...parts: string[]) =>
    expect.objectContaining({
      code: 'ERR_MACHINERY_INVALID_OPTION',
      message: expect.stringMatching(parts.join('.*')),
    });

  it.each([
    [{}, ['RedisBackend', '`url` or `client`', 'none']],
    [{ url, push: 'yes' }, ['RedisBackend', 'push', 'boolean', 'yes']],
    [{ url: '' }, ['RedisBackend', 'url', 'string']],
    [{ url: 5 }, ['RedisBackend', 'url', 'string', '5']],
    [{ url: 'http://localhost' }, ['http://localhost', 'redis://']],
    [{ client: {} }, ['RedisBackend', 'client', 'ioredis']],
    [{ url, commandTimeoutMs: 0 }, ['RedisBackend', 'commandTimeoutMs', 'integer', '0']],
    [{ url, poll: 5 }, ['RedisBackend', 'poll']],
  ] as [object, string[]][])('that are wrong are an error that names them: %j', (options, parts) => {
    expect(() => new RedisBackend(options as RedisBackendOptions)).toThrowError(invalid(...parts));
  });

  it('do not connect by themselves', async () => {
    const backend = new RedisBackend({ url });
    expect(backend.capabilities).toEqual({ storesResults: true, push: true });
    await backend.close();
  });

  it('switch pushing off', async () => {
    const backend = new RedisBackend({ url, push: false });
    expect(backend.capabilities).toEqual({ storesResults: true });
    expect(backend.watch).toBeUndefined();
    await backend.close();
  });
});

describe.skipIf(redis === undefined)('a batch', () => {
  const url = redis?.url as string;

  it('is stored though the user may not publish, and what is refused of it is refused alone', async () => {
    const user = newUuid();
    const client = raw({ url });
    await client.call('ACL', 'SETUSER', user, 'on', '>secret', 'resetchannels', '~task_*', '+@all');
    const backend = open({ url: url.replace('redis://', `redis://${user}:secret@`) });
    const [first, second] = [`task_${newUuid()}`, `task_${newUuid()}`];
    const outcomes = await backend.write([write(first, 'SUCCESS'), write('mine', 'SUCCESS'), write(second, 'SUCCESS')]);
    expect(outcomes.map(({ status }) => status)).toEqual(['stored', 'failed', 'stored']);
    expect(outcomes[1]).toMatchObject({ retryable: false });
    expect(await client.exists(first, second, 'mine')).toBe(2);
    await client.call('ACL', 'DELUSER', user);
  });

  it('of large states is stored in parts', async () => {
    const backend = open({ url });
    const results = [{ type: 'string', value: 'x'.repeat(3_000_000) }];
    const uuids = Array.from({ length: 20 }, () => newUuid());
    const outcomes = await backend.write(uuids.map((uuid) => write(uuid, 'SUCCESS', { results })));
    expect(outcomes.every(({ status }) => status === 'stored')).toBe(true);
    await backend.purge({ tasks: uuids });
  });
});
