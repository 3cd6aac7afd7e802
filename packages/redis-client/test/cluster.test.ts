// Connections to a Cluster, and to a master by its Sentinel.

import { setImmediate as turn } from 'node:timers/promises';
import { startRedisCluster, startRedisSentinel } from '@machinery/services';
import { Cluster } from 'ioredis';
import { describe, expect, it, vi } from 'vitest';
import { runScript, script } from '../src/index.ts';
import { open, outcome, stopped, until } from './servers.ts';

const [cluster, sentinel] = await Promise.all([startRedisCluster(), startRedisSentinel()]);
stopped(cluster);
stopped(sentinel);
const unavailable = 'ERR_MACHINERY_BACKEND_UNAVAILABLE';
const keys = Array.from({ length: 50 }, (_, i) => `key ${i}`);

describe.skipIf(cluster === undefined)('a Cluster', { timeout: 30_000 }, () => {
  const { url = '', nodes = [] } = cluster ?? {};

  it('has the keys of all its nodes', async () => {
    const { client, isCluster } = open({ url });
    expect(isCluster).toBe(true);
    await Promise.all(keys.map((key) => client.set(key, `value of ${key}`)));
    expect(await Promise.all(keys.map((key) => client.get(key)))).toEqual(keys.map((key) => `value of ${key}`));
    expect((client as Cluster).nodes('master')).toHaveLength(3);
  });

  it('is found by one of its nodes', async () => {
    const { client } = open({ url: nodes[1]?.url as string, cluster: true });
    await Promise.all(keys.map((key) => client.set(key, 'again')));
    expect(await client.get('key 7')).toBe('again');
  });

  it('runs scripts on each node', async () => {
    const { client } = open({ url });
    const add = script(1, `return redis.call('INCRBY', KEYS[1], ARGV[1])`);
    const sums = keys.map((key) => runScript(client, add, `sum of ${key}`, 5));
    expect(await Promise.all(sums)).toEqual(Array(50).fill(5));
  });

  it('of a client that is given is used by connections of its own', async () => {
    const hosts = nodes.map(({ port }) => ({ host: '127.0.0.1', port }));
    const given = new Cluster(hosts, { lazyConnect: true, scaleReads: 'slave', redisOptions: { stringNumbers: true } });
    const sent = vi.spyOn(given, 'sendCommand');
    const connection = open({ client: given, clientName: 'own' });
    expect(connection.isCluster).toBe(true);
    await connection.client.del('number');
    expect(await connection.client.incr('number')).toBe(1);
    expect(await connection.client.client('GETNAME')).toBe('own');
    expect((connection.client as Cluster).options).toMatchObject({ scaleReads: 'master', retryDelayOnFailover: 0 });
    await connection.close();
    expect([given.status, sent.mock.calls.length]).toEqual(['wait', 0]);
    expect(await given.get('number')).toBe('1');
    given.disconnect();
  });

  it('ends with close, after what is on its way', async () => {
    const connection = open({ url });
    await connection.client.ping();
    const commands = keys.map((key) => connection.client.set(key, 'at last'));
    await Promise.all([connection.close(), connection.close()]);
    expect(await Promise.all(commands)).toEqual(Array(50).fill('OK'));
    expect(connection.client.status).toBe('end');
    expect((await outcome(connection.client.get('key 1'))).code).toBe(unavailable);
  });

  it('ends with close while it connects', async () => {
    const connection = open({ url });
    const command = outcome(connection.client.get('key 1'));
    const { tookMs } = await outcome(connection.close());
    expect(tookMs).toBeLessThan(2_000);
    await command;
  });

  it('sends nothing again of what is lost with a node', async () => {
    const { client } = open({ url });
    await Promise.all(nodes.map((node) => open({ url: node.url }).client.config('SET', 'appendonly', 'yes')));
    await Promise.all(nodes.map((node) => open({ url: node.url }).client.config('SET', 'appendfsync', 'always')));
    await Promise.all(keys.map((key) => client.del(key)));
    for (const node of nodes) await node.kill('SIGSTOP');
    const lost = keys.map((key) => outcome(client.incr(key)));
    await turn();
    await turn();
    const connections = (client as Cluster).nodes();
    for (const connection of connections) connection.stream.destroy();
    for (const { code, tookMs } of await Promise.all(lost)) {
      expect(code).toBe(unavailable);
      expect(tookMs).toBeLessThan(3_000);
    }
    for (const node of nodes) await node.kill('SIGCONT');
    const another = open({ url }).client;
    for (const key of keys) await until(async () => Number((await another.get(key)) ?? 0) <= 1, true);
    // All were written before their connections ended, so each was done once; one that was sent again counts two
    await until(async () => (await outcome(client.get('key 0'))).code, undefined);
    expect(await Promise.all(keys.map((key) => client.get(key)))).not.toContain('2');
  });

  it('rejects soon when all nodes are away, and may be closed', async () => {
    const { client } = open({ url });
    const waits = open({ url });
    await Promise.all([client.get('key 1'), waits.client.get('key 1')]);
    await Promise.all(nodes.map((node) => node.kill()));
    for (let i = 0; i < 5; i++) {
      const { code, tookMs } = await outcome(client.get(`key ${i}`));
      expect(code).toBe(unavailable);
      expect(tookMs).toBeLessThan(4_000);
    }
    const waiting = outcome(waits.client.get('key 1'));
    const { tookMs } = await outcome(waits.close());
    expect(tookMs).toBeLessThan(2_000);
    expect((await waiting).code).toBe(unavailable);
    const late = open({ url });
    expect((await outcome(late.client.get('key 1'))).code).toBe(unavailable);
    await late.close();
  });
});

describe.skipIf(sentinel === undefined)('a Sentinel', { timeout: 30_000 }, () => {
  const { url = '', masterName = '', master } = sentinel ?? {};

  it('leads to its master', async () => {
    const { client } = open({ url: `${url}/3`, masterName });
    expect(await client.client('INFO')).toMatch(new RegExp(` laddr=127\\.0\\.0\\.1:${master?.port} .* db=3 `));
  });

  it('that knows no master of that name makes commands reject soon', async () => {
    const connection = open({ url, masterName: 'another' });
    const { code, tookMs } = await outcome(connection.client.ping());
    expect(code).toBe(unavailable);
    expect(tookMs).toBeLessThan(2_000);
    expect((await outcome(connection.close())).tookMs).toBeLessThan(2_000);
  });

  it('leads back to its master when that was away', async () => {
    const { client } = open({ url, masterName });
    await client.ping();
    await master?.kill();
    expect((await outcome(client.ping())).code).toBe(unavailable);
    await master?.start();
    await until(() => client.ping(), 'PONG');
  });
});
