// A Cluster passes the suite, and what Sentinels name works.

import { declaredBackends, testBackend } from '@machinery/conformance';
import type { TaskState } from '@machinery/core';
import { startRedisCluster, startRedisSentinel } from '@machinery/services';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RedisBackend } from '../src/index.ts';
import { newUuid, open, outcome, raw, sentAt, stopped, until, write } from './setup.ts';

const [cluster, sentinel] = await Promise.all([startRedisCluster(), startRedisSentinel()]);
stopped(cluster);
stopped(sentinel);
const runner = { describe, it, before: beforeAll, after: afterAll };
const { '@machinery/backend-redis': declares = { storesResults: true, push: true } } = declaredBackends;
const group = (groupUuid: string) => {
  return { groupUuid, taskUuids: ['a', 'b'], chordTriggered: false, lock: false, createdAt: sentAt };
};

describe.skipIf(cluster === undefined)('RedisBackend on a Cluster', () => {
  const url = cluster?.url as string;
  testBackend(runner, { create: () => new RedisBackend({ url }), declares });

  it('waits for the mutex of Go, which has a slot of its own', async () => {
    const [backend, client, groupUuid] = [open({ url }), raw({ url }), newUuid('group')];
    await backend.initGroup(group(groupUuid), 60);
    await client.set('TriggerChordMutex', 'x', 'PX', 300);
    const { answer, tookMs } = await outcome(backend.claimChord(groupUuid, 'a'));
    expect(answer).toBe('claimed');
    expect(tookMs).toBeGreaterThan(250);
  });

  it('tells who waits, whichever node it is', async () => {
    const [backend, writer] = [open({ url }), open({ url })];
    const uuids = Array.from({ length: 30 }, () => newUuid());
    const seen: TaskState[] = [];
    for (const uuid of uuids) backend.watch(uuid, (state) => void seen.push(state));
    await backend.read(uuids);
    const nodes = (cluster?.nodes ?? []).map((node) => raw({ url: node.url }));
    await until(async () => (await Promise.all(nodes.map((node) => node.pubsub('CHANNELS')))).flat().length === 30);
    await writer.write(uuids.map((uuid) => write(uuid, 'SUCCESS')));
    await until(() => seen.length === 30);
  });
});

describe.skipIf(sentinel === undefined)('RedisBackend behind Sentinels', () => {
  it('writes, reads and tells', async () => {
    const { url, masterName, master } = sentinel as NonNullable<typeof sentinel>;
    const [backend, uuid] = [open({ url, masterName }), newUuid()];
    const ended = new Promise<TaskState>((resolve) => backend.watch(uuid, resolve));
    await until(async () => ((await raw({ url: master.url }).pubsub('CHANNELS', '*done*')) as string[]).length === 1);
    await backend.write([write(uuid, 'SUCCESS')]);
    expect(await ended).toEqual(write(uuid, 'SUCCESS').state);
    expect(await raw({ url: master.url }).exists(uuid)).toBe(1);
  });
});
