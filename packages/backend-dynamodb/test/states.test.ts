// States as items: those that Go's workers and clients find, and those that they have left.

import { dynamoServer } from '@machinery/services';
import { describe, expect, it } from 'vitest';
import { counted, newUuid, open, outcome, raw, sentAt, stopped, write } from './setup.ts';

const { endpoint } = stopped(await dynamoServer());
const items = raw(endpoint);
const backend = open({ endpoint });
await backend.read(['creates the tables']);

describe('a state', () => {
  it("is an item with Go's attributes, and expires", async () => {
    const uuid = newUuid();
    await backend.write([write(uuid, 'SUCCESS', { attempt: 2 })]);
    const { TTL, ...item } = (await items.get(uuid)) ?? {};
    expect(item).toEqual({
      TaskUUID: { S: uuid },
      TaskName: { S: 'add' },
      State: { S: 'SUCCESS' },
      Results: { L: [{ M: { Type: { S: 'int64' }, Value: { N: '2' } } }] },
      CreatedAt: { S: sentAt },
      Attempt: { N: '2' },
    });
    const leftSeconds = Number(TTL?.N) - Date.now() / 1_000;
    expect(leftSeconds).toBeGreaterThan(55);
    expect(leftSeconds).toBeLessThan(61);
  });

  it.each([
    ['string', '2', { S: '2' }],
    ['bool', true, { BOOL: true }],
    ['float64', 1.5, { N: '1.5' }],
    ['[]string', ['a b', ''], { L: [{ S: 'a b' }, { S: '' }] }],
    ['[]float64', [1, 0.5], { L: [{ N: '1' }, { N: '0.5' }] }],
    ['[]uint8', 'AAH+/w==', { S: 'AAH+/w==' }],
    ['int64', 9_007_199_254_740_993n, { S: '9007199254740993' }], // Go would round a number
    ['float64', 5e-324, { S: '5e-324' }], // DynamoDB has no such number
    ['[]int64', null, { NULL: true }],
  ])('has its result where Go can read it, if it can: %s %s', async (type, value, attribute) => {
    const uuid = newUuid();
    await backend.write([write(uuid, 'SUCCESS', { results: [{ type, value }] })]);
    expect((await items.get(uuid))?.Results?.L?.[0]?.M?.Value).toEqual(attribute);
    expect((await backend.read([uuid]))[0]?.results).toEqual([{ type, value }]);
  });

  it.each([
    ['int64', '2', 2],
    ['int64', '9223372036854775807', 9_223_372_036_854_775_807n],
    ['uint8', '255', 255],
    ['float64', '1e+21', 1e21],
    ['float32', '0.1', 0.1],
    ['bool', 'false', false],
    ['string', '2', '2'],
    ['string', '[1 2]', '[1 2]'],
    ['[]int64', '[9007199254740993 -1]', [9_007_199_254_740_993n, -1]],
    ['[]int64', '[]', []],
    ['[]float64', '[1 1.5]', [1, 1.5]],
    ['[]bool', '[true false]', [true, false]],
    ['[]uint8', '[0 1 254 255]', 'AAH+/w=='],
    ['[]string', '[a  ü]', ['a', '', 'ü']],
    ['main.Point', '{1 2}', '{1 2}'],
  ])('that Go has stored has its type again: %s %s', async (Type, Value, value) => {
    const uuid = newUuid();
    // Go: PutItem of PENDING, then UpdateItem of what has changed
    await items.put(uuid, {
      TaskName: { S: 'echo' },
      State: { S: 'SUCCESS' },
      Results: { L: [{ M: { Type: { S: Type }, Value: { S: Value } } }] },
      Error: { S: '' },
      CreatedAt: { S: sentAt },
      TTL: { N: String(Math.floor(Date.now() / 1_000) + 60) },
    });
    const [state] = await backend.read([uuid]);
    expect(state).toMatchObject({ taskUuid: uuid, taskName: 'echo', state: 'SUCCESS', createdAt: sentAt });
    expect(state?.results).toEqual([{ type: Type, value }]);
  });

  it('of Go with a slice of texts is warned of, once: nobody knows where they ended', async () => {
    const fresh = open({ endpoint });
    for (let i = 0; i < 2; i++) {
      const uuid = newUuid();
      const Results = { L: [{ M: { Type: { S: '[]string' }, Value: { S: '[a b c]' } } }] };
      await items.put(uuid, { State: { S: 'SUCCESS' }, Results });
      expect((await fresh.read([uuid]))[0]?.results?.[0]?.value).toEqual(['a', 'b', 'c']);
    }
    expect(fresh.warnings).toEqual([expect.stringContaining('those with blanks come apart')]);
  });

  it('that a Go worker has stored over another does not show what that has left', async () => {
    const uuid = newUuid();
    const retryEta = '2026-11-21T08:00:05Z';
    await backend.write([write(uuid, 'RETRY', { error: 'oops', retryEta, retryCount: 2 })]);
    await items.put(uuid, { ...(await items.get(uuid)), State: { S: 'STARTED' } }); // Go: SET #S = :s
    expect((await backend.read([uuid]))[0]).toEqual({
      taskUuid: uuid,
      taskName: 'add',
      state: 'STARTED',
      createdAt: sentAt,
      ttl: expect.any(Number),
    });
  });

  it('that Go has begun never expires, until we go on with it', async () => {
    const uuid = newUuid();
    await items.put(uuid, {
      TaskName: { S: 'add' },
      State: { S: 'PENDING' },
      Results: { NULL: true },
      Error: { S: '' },
      CreatedAt: { S: sentAt },
      TTL: { N: '0' },
    });
    expect(await backend.read([uuid])).toEqual([
      { taskUuid: uuid, taskName: 'add', state: 'PENDING', createdAt: sentAt },
    ]);
    await backend.write([{ state: { taskUuid: uuid, taskName: '', state: 'STARTED' }, expiresInSeconds: 60 }]);
    expect(await backend.read([uuid])).toMatchObject([{ taskName: 'add', state: 'STARTED', createdAt: sentAt }]);
    expect(Number((await items.get(uuid))?.TTL?.N)).toBeGreaterThan(0);
  });

  it('that has expired is not read, though it is there', async () => {
    const uuid = newUuid();
    await items.put(uuid, { State: { S: 'SUCCESS' }, TTL: { N: String(Math.floor(Date.now() / 1_000)) } });
    expect(await backend.read([uuid])).toEqual([undefined]);
    // Nor does it hold up a state of the same send
    await items.put(uuid, { State: { S: 'SUCCESS' }, CreatedAt: { S: sentAt }, TTL: { N: '1' } });
    await backend.write([write(uuid, 'STARTED')]);
    expect((await backend.read([uuid]))[0]?.state).toBe('STARTED');
  });

  it('that is none is warned of, and replaced by the next', async () => {
    const [odd, even] = [newUuid(), newUuid()];
    const fresh = open({ endpoint });
    await items.put(odd, { State: { N: '7' } });
    await fresh.write([write(even, 'SUCCESS')]);
    expect(await fresh.read([odd, even])).toMatchObject([undefined, { state: 'SUCCESS' }]);
    expect(fresh.warnings).toEqual([`The item ${odd} holds no state of a task: its State is {"N":"7"}`]);
    expect(await fresh.write([write(odd, 'STARTED')])).toEqual([{ status: 'stored' }]);
    expect((await fresh.read([odd]))[0]?.state).toBe('STARTED');
  });

  it('with a result of no wire type is refused for good', async () => {
    const [result] = await backend.write([write(newUuid(), 'SUCCESS', { results: [{ type: 'map', value: {} }] })]);
    expect(result).toMatchObject({
      status: 'failed',
      retryable: false,
      error: { code: 'ERR_MACHINERY_BACKEND_FAILED' },
    });
  });
});

describe('a batch', () => {
  it('of 1,000 is 40 requests to write and 10 to read, no more than allowed at once', async () => {
    const { client, counts, atOnce } = counted(endpoint);
    const counting = open({ client, maxRequests: 8, createTables: false });
    const uuids = Array.from({ length: 1_000 }, () => newUuid());
    const outcomes = await counting.write(uuids.map((uuid) => write(uuid, 'SUCCESS')));
    expect(outcomes.every(({ status }) => status === 'stored')).toBe(true);
    expect((await counting.read(uuids)).every((state) => state?.state === 'SUCCESS')).toBe(true);
    expect(counts).toEqual({ BatchWriteItemCommand: 40, BatchGetItemCommand: 10 });
    expect(atOnce.most).toBe(8);
  });

  it('of large states goes in parts, and comes in as many as it takes', async () => {
    const { client, counts } = counted(endpoint);
    const counting = open({ client });
    const results = [{ type: 'string', value: '☃'.repeat(120_000) }];
    const uuids = Array.from({ length: 20 }, () => newUuid());
    const outcomes = await counting.write(uuids.map((uuid) => write(uuid, 'SUCCESS', { results })));
    expect(outcomes.every(({ status }) => status === 'stored')).toBe(true);
    expect(counts.BatchWriteItemCommand).toBe(4); // five of 360 kB in 2 MB
    const read = await counting.read(uuids);
    expect(read.every((state) => state?.results?.[0]?.value === results[0]?.value)).toBe(true);
    expect(counts.BatchGetItemCommand).toBeGreaterThan(1); // the others were left over
    await counting.purge({ tasks: uuids });
    expect(await counting.read(uuids)).toEqual(uuids.map(() => undefined));
  });

  it('is stored though one of it is refused', async () => {
    const [first, refused, second] = [newUuid(), 'x'.repeat(2_049), newUuid()];
    const outcomes = await backend.write([first, refused, second].map((uuid) => write(uuid, 'SUCCESS')));
    expect(outcomes).toMatchObject([
      { status: 'stored' },
      { status: 'failed', retryable: false, error: { code: 'ERR_MACHINERY_BACKEND_FAILED' } },
      { status: 'stored' },
    ]);
    const states = await backend.read([first, refused, '', second]);
    expect(states.map((state) => state?.state)).toEqual(['SUCCESS', undefined, undefined, 'SUCCESS']);
    await backend.purge({ tasks: [refused, '', first], groups: [refused] });
    expect(await backend.read([first])).toEqual([undefined]);
  });

  it('tells which state is too large as an item, though its JSON is not', async () => {
    const value = Array.from({ length: 190_000 }, () => 7);
    const [small, large] = [
      write(newUuid(), 'SUCCESS'),
      write(newUuid(), 'SUCCESS', { results: [{ type: '[]int64', value }] }),
    ];
    const outcomes = await backend.write([small, large]);
    expect(outcomes).toMatchObject([
      { status: 'stored' },
      {
        status: 'failed',
        retryable: false,
        error: {
          code: 'ERR_MACHINERY_STATE_TOO_LARGE',
          message: expect.stringMatching(/SUCCESS state of task add .* at most 409600/),
        },
      },
    ]);
  });
});

describe('a group', () => {
  const groupOf = (taskUuids: string[]) => ({
    groupUuid: newUuid('group'),
    taskUuids,
    chordTriggered: false,
    lock: false,
    createdAt: sentAt,
  });

  it("is an item with Go's attributes, whose flag comes with the claim", async () => {
    const group = groupOf(['a', 'b']);
    const { groupUuid } = group;
    await backend.initGroup(group, 60);
    const expected = {
      GroupUUID: { S: groupUuid },
      TaskUUIDs: { L: [{ S: 'a' }, { S: 'b' }] },
      ChordTriggered: { BOOL: false },
      Lock: { BOOL: false },
      CreatedAt: { S: sentAt },
      TTL: { N: expect.any(String) },
    };
    expect(await items.get(groupUuid)).toEqual(expected);
    expect(await backend.claimChord(groupUuid, 'a')).toBe('claimed');
    expect(await items.get(groupUuid)).toEqual({ ...expected, ChordTriggered: { BOOL: true }, ClaimedBy: { S: 'a' } });
    expect(await backend.readGroup(groupUuid)).toMatchObject({ chordTriggered: false });
    await backend.finishChord(groupUuid);
    expect(await items.get(groupUuid)).toEqual({ ...expected, ChordTriggered: { BOOL: true } });
    expect(await backend.readGroup(groupUuid)).toMatchObject({ chordTriggered: true });
  });

  it('on which a Go worker has decided is done', async () => {
    const group = groupOf(['a']);
    await items.put(group.groupUuid, {
      TaskUUIDs: { L: [{ S: 'a' }] },
      ChordTriggered: { BOOL: true },
      Lock: { BOOL: false },
      TTL: { N: '0' },
    });
    expect(await backend.claimChord(group.groupUuid, 'a')).toBe('done');
  });

  it('whose meta is too large for an item is refused before it is sent', async () => {
    const taskUuids = Array.from({ length: 9_000 }, (_, i) => `task_${String(i).padStart(60, '0')}`);
    const { code, message } = await outcome(backend.initGroup(groupOf(taskUuids), 60));
    expect(code).toBe('ERR_MACHINERY_STATE_TOO_LARGE');
    expect(message).toMatch(/with 9000 members has \d+ bytes, and DynamoDB takes at most 409600/);
  });

  it('is claimed once when 50 ask at once, and its claimer gets it again', async () => {
    const { groupUuid, ...group } = groupOf(Array.from({ length: 50 }, () => newUuid()));
    const backends = Array.from({ length: 5 }, () => open({ endpoint }));
    await backend.initGroup({ groupUuid, ...group }, 60);
    const claims = await Promise.all(group.taskUuids.map((uuid, i) => backends[i % 5]?.claimChord(groupUuid, uuid)));
    expect(claims.toSorted()).toEqual(['claimed', ...Array(49).fill('other')]);
    const claimer = group.taskUuids[claims.indexOf('claimed')] as string;
    expect(await backend.claimChord(groupUuid, claimer)).toBe('claimed');
  });
});
