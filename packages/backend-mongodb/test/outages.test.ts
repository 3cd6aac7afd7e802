// A server that was never there, goes away, comes back, or stands still; and FerretDB, which keeps its data through a kill and refuses
// what is not in it: the TTL index, and an answer for each of a batch.

import { startFerret, tcpProxy } from '@machinery/services';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { MongoBackend } from '../src/index.ts';
import { callsOf, groupOf, newUuid, open, outcome, stopped, until, write } from './setup.ts';

const ferret = stopped(await startFerret());
const url = ferret?.url as string;
const unavailable = { status: 'failed', retryable: true, error: { code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' } };

describe.skipIf(ferret === undefined)('a server', { timeout: 60_000 }, () => {
  const works = (backend: MongoBackend) =>
    until(async () => (await backend.write([write(newUuid(), 'SUCCESS')]))[0]?.status === 'stored');

  it('that refuses the TTL index is a warning for each collection, and nothing else', async () => {
    const backend = open({ url, database: 'ttl' });
    await works(backend);
    await until(() => backend.warnings.length === 2);
    expect(backend.warnings.toSorted().map((text) => text.split(':')[0])).toEqual([
      'MongoDB could not create the TTL index of ttl.group_metas',
      'MongoDB could not create the TTL index of ttl.tasks',
    ]);
    expect(backend.warnings.join()).toContain('expireAfterSeconds');
    const group = { ...groupOf([newUuid()]) };
    await backend.initGroup(group, 1);
    await until(async () => (await backend.readGroup(group.groupUuid)) === undefined);
  });

  it('that stops a batch at the first that loses has the others all the same', async () => {
    const backend = open({ url, database: 'batches' });
    const [ended, ...others] = Array.from({ length: 10 }, () => newUuid());
    await backend.write([write(ended as string, 'SUCCESS')]);
    const batch = [others[0], ended, ...others.slice(1)].map((uuid) => write(uuid as string, 'STARTED'));
    expect(await backend.write(batch)).toEqual(batch.map(() => ({ status: 'stored' })));
    const read = await backend.read([ended as string, ...others]);
    expect(read.map((state) => state?.state)).toEqual(['SUCCESS', ...others.map(() => 'STARTED')]);
  });

  it('that is killed fails every call, to be tried again, and has everything when it is back', async () => {
    const backend = open({ url, database: 'outages', connectTimeoutMs: 500 });
    const uuid = newUuid();
    await backend.write([write(uuid, 'SUCCESS')]);
    await ferret?.kill();
    const writing = outcome(backend.write([write(newUuid(), 'SUCCESS'), write(newUuid(), 'STARTED')]));
    for (const { code, message, tookMs } of await Promise.all(callsOf(backend).map(outcome))) {
      expect(code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
      expect(message).toMatch(/^MongoDB could not /);
      expect(tookMs).toBeLessThan(5_000);
    }
    expect((await writing).answer).toMatchObject([unavailable, unavailable]);
    await ferret?.start();
    await works(backend);
    expect(await backend.read([uuid])).toEqual([write(uuid, 'SUCCESS').state]);
  });

  it('that is away at first is found when it is there', async () => {
    await ferret?.kill();
    const backend = open({ url, database: 'outages', connectTimeoutMs: 200 });
    expect(await backend.write([write(newUuid(), 'SUCCESS')])).toMatchObject([unavailable]);
    expect((await outcome(backend.read(['x']))).message).toMatch(/MongoDB could not read states: .*ECONNREFUSED/);
    await ferret?.start();
    await works(backend);
    await until(() => backend.warnings.length === 2); // it has asked for the indexes
  });

  it('that is away does not keep a backend from closing', async () => {
    await ferret?.kill();
    const backend = open({ url, connectTimeoutMs: 20_000 });
    const reading = outcome(backend.read(['x']));
    const { tookMs } = await outcome(backend.close());
    expect(tookMs).toBeLessThan(3_000);
    expect((await reading).code).toBe('ERR_MACHINERY_CLOSED');
    await ferret?.start();
  });

  it('that stands still counts as away, until it goes on', async () => {
    const proxy = await tcpProxy({ to: ferret?.port as number });
    onTestFinished(() => proxy.close());
    const proxied = `mongodb://127.0.0.1:${proxy.port}`;
    const backend = open({ url: proxied, database: 'outages', connectTimeoutMs: 500, commandTimeoutMs: 500 });
    const uuid = newUuid();
    await backend.write([write(uuid, 'PENDING')]);
    proxy.stall();
    const { answer, tookMs } = await outcome(backend.write([write(uuid, 'SUCCESS')]));
    expect(answer).toMatchObject([unavailable]);
    expect(tookMs).toBeLessThan(5_000);
    proxy.resume();
    await works(backend);
    proxy.cut();
    await works(backend);
  });
});
