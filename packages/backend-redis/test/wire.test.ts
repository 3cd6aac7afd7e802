// What is in Redis: what Go wrote is read, and what we write is what Go reads.

import { readFileSync } from 'node:fs';
import { decodeGroupMeta, decodeState, type GroupMeta } from '@machinery/core';
import { redisServer } from '@machinery/services';
import { describe, expect, it } from 'vitest';
import { newUuid, open, outcome, raw, sentAt, stopped, write } from './setup.ts';

const redis = stopped(await redisServer());
const vectors = new URL('../../../interop/vectors/states.json', import.meta.url);
const { groupMeta, ...states } = JSON.parse(readFileSync(vectors, 'utf8')) as Record<string, string>;

describe.skipIf(redis === undefined)('what is in Redis', () => {
  const url = redis?.url as string;
  const meta = (groupUuid: string, more: Partial<GroupMeta> = {}): GroupMeta => {
    return {
      groupUuid,
      taskUuids: ['task_1', 'task_2'],
      chordTriggered: false,
      lock: false,
      createdAt: sentAt,
      ...more,
    };
  };

  describe('written by Go', () => {
    it.each(Object.keys(states))('is read: a state, %s', async (name) => {
      const taskUuid = newUuid();
      const text = states[name]?.replace('task_1', taskUuid) as string;
      await raw({ url }).set(taskUuid, text, 'EX', 60);
      expect(await open({ url }).read([taskUuid])).toEqual([decodeState(text)]);
    });

    it('is read: the meta of a group', async () => {
      const groupUuid = newUuid('group');
      const text = groupMeta?.replace('group_1', groupUuid) as string;
      await raw({ url }).set(groupUuid, text, 'EX', 60);
      expect(await open({ url }).readGroup(groupUuid)).toEqual(meta(groupUuid, { chordTriggered: true }));
      expect(decodeGroupMeta(text)).toEqual(meta(groupUuid, { chordTriggered: true }));
    });

    it('keeps its name and its time when we go on with what lacks them', async () => {
      const taskUuid = newUuid();
      await raw({ url }).set(taskUuid, states.pending?.replace('task_1', taskUuid) as string, 'EX', 60);
      const backend = open({ url });
      const { createdAt: _, ...started } = write(taskUuid, 'STARTED', { taskName: '' }).state;
      await backend.write([{ state: started, expiresInSeconds: 60 }]);
      expect(await backend.read([taskUuid])).toEqual([write(taskUuid, 'STARTED').state]);
    });
  });

  describe('written by us', () => {
    it('is a state as JSON under the UUID of its task', async () => {
      const taskUuid = newUuid();
      expect(await open({ url }).write([write(taskUuid, 'SUCCESS')])).toEqual([{ status: 'stored' }]);
      expect(JSON.parse((await raw({ url }).get(taskUuid)) as string)).toEqual({
        TaskUUID: taskUuid,
        TaskName: 'add',
        State: 'SUCCESS',
        Results: [{ Type: 'int64', Value: 2 }],
        CreatedAt: sentAt,
      });
    });

    it.each(['PENDING', 'RECEIVED', 'SUCCESS'] as const)('expires in seconds: %s', async (state) => {
      const taskUuid = newUuid();
      await open({ url }).write([write(taskUuid, state)]);
      const ttl = await raw({ url }).pttl(taskUuid);
      expect(ttl).toBeGreaterThan(55_000);
      expect(ttl).toBeLessThanOrEqual(60_000);
    });

    it('is the meta of a group as Go prints it, with its flag', async () => {
      const groupUuid = newUuid('group');
      await open({ url }).initGroup(meta(groupUuid), 60);
      const text = groupMeta?.replace('group_1', groupUuid).replace('Triggered":true', 'Triggered":false');
      expect(await raw({ url }).get(groupUuid)).toBe(text);
      const ttl = await raw({ url }).pttl(groupUuid);
      expect(ttl).toBeGreaterThan(55_000);
      expect(ttl).toBeLessThanOrEqual(60_000);
    });

    it('is gone after it was purged, with the claims', async () => {
      const [taskUuid, groupUuid] = [newUuid(), newUuid('group')];
      const backend = open({ url });
      await backend.write([write(taskUuid, 'SUCCESS')]);
      await backend.initGroup(meta(groupUuid), 60);
      await backend.claimChord(groupUuid, 'task_1');
      expect(await raw({ url }).keys(`*${groupUuid}*`)).toHaveLength(2);
      await backend.purge({ tasks: [taskUuid], groups: [groupUuid] });
      expect(await raw({ url }).keys(`*${groupUuid}*`)).toEqual([]);
      expect(await raw({ url }).exists(taskUuid)).toBe(0);
    });
  });

  it('is any text, and as large as it gets', async () => {
    const taskUuid = `${newUuid()} 日本 😀 \u2028 "quoted" {tag}`;
    const value = `<a&b> \0 日本 😀 \ud800 ${'x'.repeat(1_000_000)}`;
    const success = write(taskUuid, 'SUCCESS', { taskName: 'größe', results: [{ type: 'string', value }] });
    const backend = open({ url });
    // Over what is there: merged, and compared with it.
    for (const state of ['PENDING', 'RECEIVED', 'STARTED'] as const) {
      await backend.write([write(taskUuid, state, { taskName: 'größe' })]);
    }
    expect(await backend.write([success])).toEqual([{ status: 'stored' }]);
    expect(await backend.read([taskUuid])).toEqual([success.state]);
    expect(await backend.write([write(taskUuid, 'STARTED')])).toEqual([{ status: 'stored' }]);
    expect(await backend.read([taskUuid])).toEqual([success.state]);
  });

  describe('is something else', () => {
    it('is no state: a text that is none is warned of and is undefined, and the others are read', async () => {
      const [odd, even] = [newUuid(), newUuid()];
      await raw({ url }).set(odd, 'no JSON');
      const backend = open({ url });
      await backend.write([write(even, 'SUCCESS')]);
      expect(await backend.read([odd, even])).toEqual([undefined, write(even, 'SUCCESS').state]);
      expect(backend.warnings).toEqual([expect.stringContaining(`The key ${odd} holds no state of a task: `)]);
    });

    it('is no state: a list is undefined, and the others are read', async () => {
      const [odd, even] = [newUuid(), newUuid()];
      await raw({ url }).rpush(odd, 'a list');
      const backend = open({ url });
      await backend.write([write(even, 'SUCCESS')]);
      expect(await backend.read([odd, even])).toEqual([undefined, write(even, 'SUCCESS').state]);
    });

    it.each([
      ['no JSON', Buffer.from('no JSON')],
      ['no UTF-8', Buffer.from([0x7b, 0xff, 0xfe])],
    ])('is replaced by the next state, and warned of once: %s', async (_, bytes) => {
      const taskUuid = newUuid();
      await raw({ url }).set(taskUuid, bytes);
      const backend = open({ url });
      expect(await backend.write([write(taskUuid, 'STARTED')])).toEqual([{ status: 'stored' }]);
      expect(await backend.read([taskUuid])).toEqual([write(taskUuid, 'STARTED').state]);
      expect(backend.warnings).toEqual([expect.stringContaining(`The key ${taskUuid} holds no state of a task: `)]);
    });

    it('refuses a state that has to be merged with a list, for good, and says of which task', async () => {
      const taskUuid = newUuid();
      await raw({ url }).rpush(taskUuid, 'a list');
      const [result] = await open({ url }).write([write(taskUuid, 'STARTED')]);
      expect(result).toMatchObject({
        status: 'failed',
        retryable: false,
        error: {
          code: 'ERR_MACHINERY_BACKEND_FAILED',
          message: expect.stringMatching(`could not store the state of task ${taskUuid}: .*WRONGTYPE`),
        },
      });
    });

    it('is no group: a text that is none is an error that names it', async () => {
      const groupUuid = newUuid('group');
      await raw({ url }).set(groupUuid, 'no JSON');
      const { code, message } = await outcome(open({ url }).readGroup(groupUuid));
      expect(code).toBe('ERR_MACHINERY_BACKEND_FAILED');
      expect(message).toContain(`group ${groupUuid}`);
    });

    it('is no group: a list cannot be claimed, and the error names it', async () => {
      const groupUuid = newUuid('group');
      await raw({ url }).rpush(groupUuid, 'a list');
      const { code, message } = await outcome(open({ url }).claimChord(groupUuid, 'task_1'));
      expect(code).toBe('ERR_MACHINERY_BACKEND_FAILED');
      expect(message).toContain(`could not claim the chord of group ${groupUuid}: WRONGTYPE`);
    });
  });
});
