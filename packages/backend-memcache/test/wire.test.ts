// What is in Memcached: what Go wrote is read, what we write is what Go reads, and where it is.

import { readFileSync } from 'node:fs';
import { decodeState } from '@machinery/core';
import { type StartedMemcached, startMemcached } from '@machinery/services';
import { describe, expect, it } from 'vitest';
import { groupOf, newUuid, open, sentAt, stopped, write } from './setup.ts';

const [memcached, second, third] = await Promise.all([startMemcached(), startMemcached(), startMemcached()]);
const servers = [memcached, second, third] as StartedMemcached[];
for (const server of servers) stopped(server);
const vectors = new URL('../../../interop/vectors/states.json', import.meta.url);
const { groupMeta, ...states } = JSON.parse(readFileSync(vectors, 'utf8')) as Record<string, string>;

describe.skipIf(third === undefined)('what is in Memcached', () => {
  const url = memcached?.url as string;
  const put = (key: string, text: string, expiry = 60) =>
    servers[0]?.tell(`set ${key} 0 ${expiry} ${Buffer.byteLength(text)}\r\n${text}\r\n`, 'STORED');
  const stored = async (key: string, server = servers[0]) => {
    const answer = (await server?.tell(`get ${key}\r\n`, 'END\r\n')) as string;
    return /^VALUE \S+ 0 \d+\r\n(.*)\r\nEND/s.exec(answer)?.[1];
  };
  const secondsLeft = async (key: string) =>
    Number(/ t(-?\d+)/.exec((await servers[0]?.tell(`mg ${key} t\r\n`, '\r\n')) as string)?.[1]);

  it.each(Object.keys(states))('and Go wrote is read: a state, %s', async (name) => {
    const taskUuid = newUuid();
    const text = states[name]?.replace('task_1', taskUuid) as string;
    await put(taskUuid, text);
    expect(await open({ url }).read([taskUuid])).toEqual([decodeState(text)]);
  });

  it('and Go wrote is read: the meta of a group', async () => {
    const group = groupOf(['task_1', 'task_2'], { chordTriggered: true });
    await put(group.groupUuid, groupMeta?.replace('group_1', group.groupUuid) as string);
    expect(await open({ url }).readGroup(group.groupUuid)).toEqual(group);
  });

  it('and a Go worker wrote, without name and time, gets them from what a later state knows', async () => {
    const taskUuid = newUuid();
    await put(
      taskUuid,
      `{"TaskUUID":"${taskUuid}","TaskName":"","State":"STARTED","CreatedAt":"0001-01-01T00:00:00Z"}`,
    );
    const backend = open({ url });
    expect(await backend.read([taskUuid])).toEqual([{ taskUuid, taskName: '', state: 'STARTED' }]);
    await backend.write([write(taskUuid, 'RETRY', { error: 'again' })]);
    expect(await backend.read([taskUuid])).toEqual([write(taskUuid, 'RETRY', { error: 'again' }).state]);
  });

  it('is a state as JSON under the UUID of its task', async () => {
    const taskUuid = newUuid();
    expect(await open({ url }).write([write(taskUuid, 'SUCCESS')])).toEqual([{ status: 'stored' }]);
    expect(JSON.parse((await stored(taskUuid)) as string)).toEqual({
      TaskUUID: taskUuid,
      TaskName: 'add',
      State: 'SUCCESS',
      Results: [{ Type: 'int64', Value: 2 }],
      CreatedAt: sentAt,
    });
  });

  it('is the meta of a group as Go prints it, with its flag from the claim on', async () => {
    const backend = open({ url });
    const group = groupOf(['task_1', 'task_2']);
    await backend.initGroup(group, 60);
    const printed = groupMeta?.replace('group_1', group.groupUuid) as string;
    expect(await stored(group.groupUuid)).toBe(printed.replace('Triggered":true', 'Triggered":false'));
    await backend.claimChord(group.groupUuid, 'a "member"');
    expect(await stored(group.groupUuid)).toBe(`${printed.slice(0, -1)},"Claim":"a \\"member\\""}`);
    expect(await backend.readGroup(group.groupUuid)).toEqual(group);
    await backend.finishChord(group.groupUuid);
    expect(await stored(group.groupUuid)).toBe(printed);
  });

  it.each(['PENDING', 'RECEIVED', 'SUCCESS'] as const)('is there for as long as asked: %s', async (state) => {
    for (const expiresInSeconds of [60, 30 * 86_400, 60 * 86_400]) {
      const taskUuid = newUuid();
      await open({ url }).write([{ ...write(taskUuid, state), expiresInSeconds }]);
      const left = await secondsLeft(taskUuid);
      expect(left).toBeGreaterThanOrEqual(expiresInSeconds);
      expect(left).toBeLessThanOrEqual(expiresInSeconds + 4);
    }
  });

  it('is a group that keeps its time when it is claimed, and one of Go that has 60 days', async () => {
    const backend = open({ url });
    const group = groupOf(['task_1']);
    const text = groupMeta
      ?.replace('group_1', group.groupUuid)
      .replace('Triggered":true', 'Triggered":false') as string;
    for (const expiresInSeconds of [100, 60 * 86_400]) {
      await put(group.groupUuid, text, Math.floor(Date.now() / 1_000) + expiresInSeconds);
      expect(await backend.claimChord(group.groupUuid, 'task_1')).toBe('claimed');
      const left = await secondsLeft(group.groupUuid);
      expect(left).toBeGreaterThan(expiresInSeconds - 10);
      expect(left).toBeLessThanOrEqual(expiresInSeconds + 4);
    }
    await put(group.groupUuid, text, 0);
    expect(await backend.claimChord(group.groupUuid, 'task_1')).toBe('claimed');
    expect(await secondsLeft(group.groupUuid)).toBe(-1);
  });

  it('is on the server that Go takes for it', async () => {
    const hosts = servers.map((server) => server.url.replace('memcache://', ''));
    const backend = open({ url: `memcache://${hosts.join(',')}` });
    // Go: crc32.ChecksumIEEE says 3570850459, 1306495777, 987282359, 1332294441
    const places = { task_1: 1, task_2: 1, task_3: 2, group_é: 0 };
    await backend.write(Object.keys(places).map((taskUuid) => write(taskUuid, 'SUCCESS')));
    for (const [taskUuid, place] of Object.entries(places)) {
      for (const [i, server] of servers.entries())
        expect((await stored(taskUuid, server)) !== undefined, `${taskUuid} on server ${i}`).toBe(i === place);
    }
    const read = await backend.read(Object.keys(places));
    expect(read.map((state) => state?.taskUuid)).toEqual(Object.keys(places));
    await backend.purge({ tasks: Object.keys(places) });
    expect((await backend.read(Object.keys(places))).every((state) => state === undefined)).toBe(true);
  });

  it('is no state: that is a warning, and as if it were not there', async () => {
    const [odd, even] = [newUuid(), newUuid()];
    await put(odd, 'no JSON');
    const backend = open({ url });
    await backend.write([write(even, 'SUCCESS')]);
    expect(await backend.read([odd, even])).toEqual([undefined, write(even, 'SUCCESS').state]);
    expect(backend.warnings).toEqual([expect.stringContaining(`The key ${odd} holds no state of a task: `)]);
    expect(await backend.write([write(odd, 'STARTED')])).toEqual([{ status: 'stored' }]);
    expect(await backend.read([odd])).toEqual([write(odd, 'STARTED').state]);
  });

  it('is no group: that is an error that names it', async () => {
    const groupUuid = newUuid('group');
    await put(groupUuid, 'no JSON');
    const backend = open({ url });
    for (const call of [backend.readGroup(groupUuid), backend.claimChord(groupUuid, 'task_1')])
      await expect(call).rejects.toMatchObject({
        code: 'ERR_MACHINERY_BACKEND_FAILED',
        message: expect.stringContaining(`The key of group ${groupUuid} holds no meta of a group: `),
      });
  });

  it('cannot have a UUID with spaces, control characters or more than 250 bytes', async () => {
    const backend = open({ url });
    for (const [uuid, why] of [
      ['a b', 'spaces and control characters'],
      ['a\r\nflush_all', 'spaces and control characters'],
      ['a\x7f', 'spaces and control characters'],
      ['', 'it has 0 bytes, expected 1 to 250'],
      ['é'.repeat(126), 'it has 252 bytes, expected 1 to 250'],
    ] as const) {
      const refused = { code: 'ERR_MACHINERY_BACKEND_FAILED', message: expect.stringContaining(why) };
      expect(await backend.write([write(uuid, 'PENDING')])).toMatchObject([
        { status: 'failed', retryable: false, error: refused },
      ]);
      await expect(backend.initGroup(groupOf([], { groupUuid: uuid }), 60)).rejects.toMatchObject(refused);
      expect(await backend.read([uuid])).toEqual([undefined]);
    }
    expect(backend.warnings).toEqual([
      'The UUID of task "a b" cannot be a key of Memcached: spaces and control characters are not allowed: it has no state',
    ]);
    const longest = newUuid().padEnd(250, 'x');
    expect(await backend.write([write(longest, 'PENDING')])).toEqual([{ status: 'stored' }]);
  });
});
