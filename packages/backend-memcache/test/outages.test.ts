// Servers that are away, come back, stand still, or are none; and the end of a backend.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server as NetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type StartedMemcached, startMemcached, tcpProxy } from '@machinery/services';
import { describe, expect, it, onTestFinished } from 'vitest';
import { MemcacheBackend, type MemcacheBackendOptions } from '../src/index.ts';
import { bridge, groupOf, newUuid, open, stopped, write } from './setup.ts';

const [memcached, other] = (await Promise.all([startMemcached(), startMemcached()])) as StartedMemcached[];
for (const server of [memcached, other]) stopped(server);
const unavailable = { code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' };
const failed = { status: 'failed', retryable: true, error: unavailable };

describe.skipIf(other === undefined)('a server', () => {
  const { url, port } = memcached ?? { url: '', port: 0 };

  it('that is away fails every call at once, to be tried again, and all works when it is back', async () => {
    const backend = open({ url });
    await backend.read(['connects']);
    await memcached?.kill();
    const from = performance.now();
    expect(await backend.write([write(newUuid(), 'SUCCESS'), write(newUuid(), 'STARTED')])).toMatchObject([
      failed,
      failed,
    ]);
    const group = groupOf(['x']);
    const calls = [
      backend.read(['x']),
      backend.purge({ tasks: ['x'] }),
      backend.initGroup(group, 60),
      backend.readGroup(group.groupUuid),
      backend.renewGroup(group.groupUuid, 60),
      backend.claimChord(group.groupUuid, 'x'),
      backend.finishChord(group.groupUuid),
    ];
    for (const call of calls)
      await expect(call).rejects.toMatchObject({
        ...unavailable,
        message: expect.stringContaining(`127.0.0.1:${port}`),
      });
    expect(performance.now() - from).toBeLessThan(2_000);
    await memcached?.start();
    expect(await backend.write([write(newUuid(), 'SUCCESS')])).toEqual([{ status: 'stored' }]);
    await backend.initGroup(group, 60);
    expect(await backend.claimChord(group.groupUuid, 'x')).toBe('claimed');
  });

  it('of several that is away fails its own keys only', async () => {
    const backend = open({ url: `memcache://127.0.0.1:1,127.0.0.1:${other?.port}` });
    const writes = Array.from({ length: 20 }, () => write(newUuid(), 'SUCCESS'));
    const outcomes = await backend.write(writes);
    const stored = writes.filter((_, i) => outcomes[i]?.status === 'stored');
    expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['stored', 'failed']));
    expect(await backend.read(stored.map(({ state }) => state.taskUuid))).toEqual(stored.map(({ state }) => state));
    await expect(backend.read(writes.map(({ state }) => state.taskUuid))).rejects.toMatchObject(unavailable);
  });

  it('whose connections break in the middle of calls answers them or fails them, and is used again', async () => {
    const proxy = await tcpProxy({ to: port });
    onTestFinished(() => proxy.close());
    const backend = open({ url: `memcache://127.0.0.1:${proxy.port}` });
    for (let round = 0; round < 20; round++) {
      const writes = Array.from({ length: 100 }, (_, i) => write(newUuid(), i % 2 ? 'SUCCESS' : 'STARTED'));
      const writing = Promise.all(writes.map((one) => backend.write([one])));
      await new Promise((resolve) => setTimeout(resolve, round % 5));
      proxy.cut();
      const outcomes = (await writing).flat();
      for (const outcome of outcomes) if (outcome.status !== 'stored') expect(outcome).toMatchObject(failed);
    }
    // The last cut may be seen only with the next call, which core tries again.
    await expect.poll(() => backend.write([write(newUuid(), 'SUCCESS')])).toEqual([{ status: 'stored' }]);
  });

  it('that stands still is away after `commandTimeoutMs`, however often it is asked', async () => {
    const proxy = await tcpProxy({ to: port });
    onTestFinished(() => proxy.close());
    const backend = open({ url: `memcache://127.0.0.1:${proxy.port}`, commandTimeoutMs: 300 });
    await backend.read(['connects']);
    proxy.stall();
    const from = performance.now();
    const timer = setInterval(() => void backend.read(['x']).catch(() => {}), 20);
    onTestFinished(() => clearInterval(timer));
    await expect(backend.read(['x'])).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringContaining('no answer within 300 ms'),
    });
    expect(performance.now() - from).toBeGreaterThan(290);
    clearInterval(timer);
    proxy.resume();
    await expect.poll(() => backend.read(['x']).catch(() => 'away')).toEqual([undefined]);
  });

  it('of several that stands still holds up the others once, and is used again when it goes on', async () => {
    const proxy = await tcpProxy({ to: port });
    onTestFinished(() => proxy.close());
    const hosts = `127.0.0.1:${proxy.port},127.0.0.1:${other?.port}`;
    const backend = open({ url: `memcache://${hosts}`, commandTimeoutMs: 500 });
    const write20 = () => backend.write(Array.from({ length: 20 }, () => write(newUuid(), 'SUCCESS')));
    await write20();
    proxy.stall();
    await write20();
    const from = performance.now();
    for (let i = 0; i < 5; i++)
      expect(new Set((await write20()).map(({ status }) => status))).toEqual(new Set(['stored', 'failed']));
    expect(performance.now() - from).toBeLessThan(500); // not five times as much
    proxy.resume();
    await expect.poll(async () => (await write20()).every(({ status }) => status === 'stored')).toBe(true);
  });

  it('that is no memcached is an error that is not tried again', async () => {
    const server: NetServer = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end('ERROR\r\n'));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const backend = open({ url: `memcache://127.0.0.1:${(server.address() as { port: number }).port}` });
    await expect(backend.read(['x'])).rejects.toMatchObject({
      code: 'ERR_MACHINERY_BACKEND_FAILED',
      message: expect.stringContaining('1.6 or later is needed'),
    });
  });

  it('may be a Unix socket', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'machinery-memcached-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'memcached.sock');
    await bridge(port, path);
    const backend = open({ url: `memcache://${path}` });
    expect(await backend.write([write(newUuid(), 'SUCCESS')])).toEqual([{ status: 'stored' }]);
    await memcached?.kill();
    const message = expect.stringContaining(`Memcached ${path} is away`);
    await expect.poll(() => backend.read(['x']).catch((error) => error)).toMatchObject({ ...unavailable, message });
    await memcached?.start();
  });
});

describe.skipIf(other === undefined)('close', () => {
  const { url, port } = memcached ?? { url: '', port: 0 };

  it('waits for what is being written, and no longer than a second', async () => {
    const backend = open({ url });
    const writing = backend.write(Array.from({ length: 500 }, () => write(newUuid(), 'SUCCESS')));
    await backend.close();
    expect((await writing).every(({ status }) => status === 'stored')).toBe(true);
    const proxy = await tcpProxy({ to: port });
    onTestFinished(() => proxy.close());
    const stalled = open({ url: `memcache://127.0.0.1:${proxy.port}` });
    await stalled.read(['connects']);
    proxy.stall();
    const lost = stalled.write([write(newUuid(), 'SUCCESS')]);
    const from = performance.now();
    await stalled.close();
    expect(performance.now() - from).toBeLessThan(3_000);
    expect(await lost).toMatchObject([{ status: 'failed', error: { code: 'ERR_MACHINERY_CLOSED' } }]);
  });

  it('leaves no connection to the server', async () => {
    const connections = async () => (await memcached?.stats())?.curr_connections as number;
    await new Promise((resolve) => setTimeout(resolve, 200)); // the server closes those of the cases before
    const before = await connections();
    const backends = Array.from({ length: 5 }, () => open({ url }));
    await Promise.all(backends.map((backend) => backend.read(['x'])));
    expect(await connections()).toBe(before + 5);
    await Promise.all(backends.map((backend) => backend.close()));
    await expect.poll(connections).toBe(before);
  });
});

describe('options', () => {
  const url = 'memcache://127.0.0.1:1';

  it.each([
    [{}, ['MemcacheBackend', 'url', 'string']],
    [{ url: 5 }, ['MemcacheBackend', 'url', 'string', '5']],
    [{ url: 'redis://localhost' }, ['expected `url`', 'redis://localhost', 'memcache://']],
    [{ url: 'memcache://' }, ['expected `url`', 'memcache://']],
    [{ url: 'memcache://a:1,,b:2' }, ['`` is no host']],
    [{ url: 'memcache://a:0' }, ['`a:0` is no host']],
    [{ url: 'memcache://a:70000' }, ['`a:70000` is no host']],
    [{ url: 'memcache://a:1/2' }, ['`a:1/2` is no host']],
    [{ url: 'memcache://me:secret@a' }, ['memcache://\\*\\*\\*@a', 'passwords are not supported']],
    [{ url, maxStateBytes: 10 }, ['maxStateBytes', '1000', '10']],
    [{ url, commandTimeoutMs: 0 }, ['commandTimeoutMs', '1', '0']],
    [{ url, connectTimeoutMs: 1.5 }, ['connectTimeoutMs', 'integer', '1.5']],
    [{ url, push: true }, ['unknown option `push`']],
  ] as [object, string[]][])('that are wrong are an error that names them: %j', (options, parts) => {
    const make = () => new MemcacheBackend(options as MemcacheBackendOptions);
    const message = expect.stringMatching(parts.join('.*'));
    expect(make).toThrowError(expect.objectContaining({ code: 'ERR_MACHINERY_INVALID_OPTION', message }));
    expect(make).not.toThrowError(/secret/);
  });

  it('take IPv6, and the port that Memcached has by default', async () => {
    const backend = new MemcacheBackend({ url: 'memcache://[::1]:1', connectTimeoutMs: 1_000 });
    await expect(backend.read(['x'])).rejects.toMatchObject({
      message: expect.stringContaining('Memcached [::1]:1 is'),
    });
    await backend.close();
  });
});
