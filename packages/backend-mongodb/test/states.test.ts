// States on a MongoDB: the documents that Go's workers and clients find there, those that Go writes, and what a write leaves of others.

import { defineTask, Server } from '@machinery/core';
import { MemoryBroker } from '@machinery/core/memory';
import { mongoServer, tcpProxy } from '@machinery/services';
import { Binary, type Document, Double, Int32, Long, MongoClient } from 'mongodb';
import { describe, expect, it, onTestFinished } from 'vitest';
import { anotherDriver, callsOf, groupOf, newClient, newUuid, open, outcome, stopped, until, write } from './setup.ts';

const mongo = stopped(await mongoServer());
const url = mongo?.url as string;
const database = 'states';

describe.skipIf(mongo === undefined)('states on MongoDB', { timeout: 30_000 }, () => {
  const client = newClient(url);
  const tasks = client.db(database).collection<Document & { _id: string }>('tasks', { promoteValues: false });
  const insert = async (state: string, more: Document = {}) => {
    const _id = newUuid();
    await tasks.insertOne({ _id, task_name: 'add', state, created_at: new Date(), ...more });
    return _id;
  };
  const later = () => new Date(Date.now() + 60_000);

  it("are Go's documents, integers of 64 bits and floats that are doubles", async () => {
    const [backend, uuid] = [open({ url, database }), newUuid()];
    const results = [
      { type: 'int64', value: 2 },
      { type: 'uint8', value: 3 },
      { type: 'uint64', value: 2n ** 64n - 1n },
      { type: 'float64', value: 3 },
      { type: '[]int64', value: [1, 2n ** 62n] },
      { type: '[]float32', value: [1, 0.1] },
      { type: '[]uint8', value: 'AQI=' },
      { type: 'string', value: '{"a":1}' },
    ];
    await backend.write([write(uuid, 'SUCCESS', { results })]);
    const { delete_at: deleteAt, ...document } = (await tasks.findOne({ _id: uuid })) as Document;
    expect(document).toEqual({
      _id: uuid,
      task_name: 'add',
      state: 'SUCCESS',
      created_at: new Date('2026-11-21T08:00:00.123Z'),
      results: [
        { type: 'int64', value: Long.fromNumber(2) },
        { type: 'uint8', value: Long.fromNumber(3) },
        { type: 'uint64', value: '18446744073709551615' },
        { type: 'float64', value: new Double(3) },
        { type: '[]int64', value: [Long.fromNumber(1), Long.fromBigInt(2n ** 62n)] },
        { type: '[]float32', value: [new Double(1), new Double(0.1)] },
        { type: '[]uint8', value: 'AQI=' },
        { type: 'string', value: '{"a":1}' },
      ],
    });
    expect(Math.abs((deleteAt as Date).getTime() - Date.now() - 60_000)).toBeLessThan(10_000);
  });

  it('that Go wrote are read: its `json`, its bytes, its narrow integers, its nil', async () => {
    const results = [
      { type: 'json', value: { a: new Double(1), b: [true, null] } },
      { type: '[]uint8', value: new Binary(Buffer.from([1, 2])) },
      { type: 'int32', value: new Int32(7) },
      { type: 'int64', value: Long.fromBigInt(2n ** 62n) },
      { type: '[]string', value: null },
    ];
    const [read] = await open({ url, database }).read([await insert('SUCCESS', { results, delete_at: later() })]);
    expect(read?.results).toEqual([
      { type: 'string', value: '{"a":1,"b":[true,null]}' },
      { type: '[]uint8', value: 'AQI=' },
      { type: 'int32', value: 7 },
      { type: 'int64', value: 2n ** 62n },
      { type: '[]string', value: null },
    ]);
  });

  it('that Go sent again are read without what Go leaves of the time before', async () => {
    const rest = {
      results: [{ type: 'int64', value: Long.fromNumber(1) }],
      error: 'the last time',
      delete_at: later(),
    };
    const [read] = await open({ url, database }).read([await insert('PENDING', rest)]);
    expect(read).toMatchObject({ state: 'PENDING', taskName: 'add' });
    expect(Object.keys(read as object).toSorted()).toEqual(['createdAt', 'state', 'taskName', 'taskUuid']);
  });

  it('that ours send again have nothing left of the time before, of Go either', async () => {
    const uuid = await insert('FAILURE', { error: 'x', results: [], delete_at: new Date(0) });
    await open({ url, database }).write([write(uuid, 'PENDING')]);
    expect(Object.keys((await tasks.findOne({ _id: uuid })) as Document).toSorted()).toEqual([
      '_id',
      'created_at',
      'delete_at',
      'state',
      'task_name',
    ]);
  });

  it('that are no states are a warning, and nothing to their readers', async () => {
    const [backend, uuids] = [open({ url, database }), [await insert('WHAT'), await insert('STARTED')]];
    expect((await backend.read(uuids)).map((state) => state?.state)).toEqual([undefined, 'STARTED']);
    expect(backend.warnings.join()).toContain(`${uuids[0]} holds no state of a task: \`state\` is "WHAT"`);
  });

  it('that are late lose, among others of a batch that are stored', async () => {
    const backend = open({ url, database });
    const [ended, fresh, started] = [newUuid(), newUuid(), newUuid()];
    await backend.write([write(ended, 'SUCCESS'), write(started, 'STARTED')]);
    const before = await tasks.findOne({ _id: ended });
    const batch = [
      write(ended, 'RETRY', { error: 'x' }),
      write(fresh, 'STARTED'),
      write(started, 'RETRY', { error: 'x' }),
    ];
    expect(await backend.write(batch)).toEqual(Array(3).fill({ status: 'stored' }));
    expect(await tasks.findOne({ _id: ended })).toEqual(before);
    expect((await backend.read([fresh, started])).map((state) => state?.state)).toEqual(['STARTED', 'RETRY']);
  });

  it('that are started for the first time by many at once are stored', async () => {
    const backends = Array.from({ length: 5 }, () => open({ url, database }));
    const uuids = Array.from({ length: 20 }, () => newUuid());
    const outcomes = await Promise.all(
      backends.flatMap((backend) => uuids.map(async (uuid) => (await backend.write([write(uuid, 'STARTED')]))[0])),
    );
    expect(outcomes).toEqual(Array(100).fill({ status: 'stored' }));
  });

  it('are removed by the server when their time is over: both collections have the index', async () => {
    const backend = open({ url, database });
    await backend.read(['connects']);
    for (const name of ['tasks', 'group_metas']) {
      await until(async () => {
        const indexes = await client.db(database).collection(name).indexes();
        return indexes.some(({ key, expireAfterSeconds }) => key.delete_at === 1 && expireAfterSeconds === 0);
      });
    }
    expect(backend.warnings).toEqual([]);
  });
});

describe.skipIf(mongo === undefined)('where things are', { timeout: 30_000 }, () => {
  const client = newClient(url);
  const found = async (name: string, collection: string, _id: string) =>
    (await client.db(name).collection<{ _id: string }>(collection).countDocuments({ _id })) === 1;

  it.each([
    ['a database in the URL', { url: `${url}/of-url` }, 'of-url', 'tasks', 'group_metas'],
    [
      'an option for it, which counts more',
      { url: `${url}/of-url`, database: 'of-option' },
      'of-option',
      'tasks',
      'group_metas',
    ],
    ['no word of it, as in Go', { url: `${url}/?appName=x` }, 'machinery', 'tasks', 'group_metas'],
    ['no scheme, as in Go', { url: url?.replace('mongodb://', '') }, 'machinery', 'tasks', 'group_metas'],
    ['collections', { url, database: 'x', tasksCollection: 't', groupMetasCollection: 'g' }, 'x', 't', 'g'],
  ])('is said by %s', async (_, options, name, tasks, groups) => {
    const [backend, uuid] = [open(options), newUuid()];
    const group = groupOf([uuid]);
    await backend.write([write(uuid, 'SUCCESS')]);
    await backend.initGroup(group, 60);
    expect([await found(name, tasks, uuid), await found(name, groups, group.groupUuid)]).toEqual([true, true]);
  });
});

describe.skipIf(mongo === undefined)('a client that is given', { timeout: 30_000 }, () => {
  it('is connected, used whatever its settings are, and left open', async () => {
    const client = newClient(url, { promoteValues: false, promoteLongs: false });
    const [backend, uuid] = [open({ client, database }), newUuid()];
    await backend.write([write(uuid, 'SUCCESS')]);
    expect((await backend.read([uuid]))[0]?.results).toEqual([{ type: 'int64', value: 2 }]);
    await backend.close();
    expect(await client.db(database).collection<{ _id: string }>('tasks').countDocuments({ _id: uuid })).toBeDefined();
  });

  it('may be of another copy of the driver, whose classes are others', async () => {
    const other = anotherDriver();
    expect(other.MongoClient).not.toBe(MongoClient);
    const client = new other.MongoClient(url);
    onTestFinished(() => client.close());
    const [backend, ended, bytes, started] = [open({ client, database }), newUuid(), newUuid(), newUuid()];
    const results = [
      { type: 'float64', value: 0.5 },
      { type: 'int64', value: 2 },
    ];
    await backend.write([write(ended, 'SUCCESS', { results })]);
    const value = new Binary(Buffer.from([1, 2]));
    await newClient(url)
      .db(database)
      .collection<{ _id: string }>('tasks')
      .insertOne({ _id: bytes, state: 'SUCCESS', results: [{ type: '[]uint8', value }] } as { _id: string });
    // The first of them is refused, as its document is there: that is no failure
    expect(await backend.write([write(ended, 'STARTED'), write(started, 'STARTED')])).toEqual(
      Array(2).fill({ status: 'stored' }),
    );
    expect((await backend.read([ended, bytes])).map((state) => state?.results)).toEqual([
      results,
      [{ type: '[]uint8', value: 'AQI=' }],
    ]);
  });

  it('that its owner closes in the middle of a call is as if the server were away', async () => {
    const proxy = await tcpProxy({ to: Number(new URL(url).port) });
    onTestFinished(() => proxy.close());
    const client = newClient(`mongodb://127.0.0.1:${proxy.port}`);
    const backend = open({ client, database });
    await backend.read(['connects']);
    proxy.stall();
    const calls = [...callsOf(backend), backend.write([write(newUuid(), 'SUCCESS')])].map(outcome);
    await client.close();
    const away = { code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' };
    const [written, ...others] = (await Promise.all(calls)).toReversed();
    expect(written?.answer).toMatchObject([{ status: 'failed', retryable: true, error: away }]);
    for (const answer of others) expect(answer).toMatchObject(away);
  });

  it('sees one request for a batch, which waits for a majority', async () => {
    const client = newClient(url, { monitorCommands: true });
    const commands: Document[] = [];
    client.on('commandStarted', ({ command }) => void (command.createIndexes ?? commands.push(command)));
    const [backend, uuids] = [open({ client, database }), Array.from({ length: 500 }, () => newUuid())];
    const outcomes = await backend.write(uuids.map((uuid) => write(uuid, 'SUCCESS')));
    expect(outcomes.every(({ status }) => status === 'stored')).toBe(true);
    expect((await backend.read(uuids)).every((state) => state?.state === 'SUCCESS')).toBe(true);
    await backend.purge({ tasks: uuids });
    expect(commands.map((command) => Object.keys(command)[0])).toEqual(['update', 'find', 'delete']);
    expect(commands.map(({ writeConcern }) => writeConcern?.w)).toEqual(['majority', undefined, 'majority']);
  });

  it('keeps a write concern of its own', async () => {
    const client = newClient(`${url}/?w=1`, { monitorCommands: true });
    const concerns: unknown[] = [];
    client.on('commandStarted', ({ command }) => void (command.update && concerns.push(command.writeConcern)));
    await open({ client, database }).write([write(newUuid(), 'SUCCESS')]);
    expect(concerns).toEqual([{ w: 1 }]);
  });

  it.each([
    { concurrency: 100, tasks: 1_000, atOnce: 1_000, most: 0.2 },
    { concurrency: 1, tasks: 100, atOnce: 1, most: 7 },
  ])(
    'sees at most $most requests for a task at concurrency $concurrency',
    async ({ concurrency, tasks, atOnce, most }) => {
      const client = newClient(url, { monitorCommands: true });
      const counts = { update: 0, find: 0 };
      client.on('commandStarted', ({ commandName }) => {
        if (commandName in counts) counts[commandName as keyof typeof counts]++;
      });
      const server = new Server({ broker: new MemoryBroker(), backend: open({ client, database }) });
      onTestFinished(() => server.close());
      const nothing = defineTask('nothing');
      server.handle(nothing, () => {});
      await server.newWorker('worker', { concurrency }).start();
      for (let i = 0; i < tasks; i += atOnce) {
        const sent = await Promise.all(Array.from({ length: atOnce }, () => server.send(nothing())));
        await Promise.all(sent.map((result) => result.get({ timeoutMs: 20_000 })));
      }
      const { update, find } = counts;
      console.log(`concurrency ${concurrency}: ${update / tasks} updates and ${find / tasks} finds for a task`);
      expect((update + find) / tasks).toBeLessThan(most);
    },
  );
});

describe.skipIf(mongo === undefined)('a closed backend', { timeout: 30_000 }, () => {
  it('says so to every call', async () => {
    const backend = open({ url, database });
    await backend.read(['connects']);
    await Promise.all([backend.close(), backend.close()]);
    for (const call of callsOf(backend)) expect((await outcome(call)).code).toBe('ERR_MACHINERY_CLOSED');
    const failure = { status: 'failed', retryable: false, error: { code: 'ERR_MACHINERY_CLOSED' } };
    expect(await backend.write([write('x', 'SUCCESS'), write('x', 'STARTED')])).toMatchObject([failure, failure]);
  });

  it('has stored what was being written', async () => {
    const [backend, reader] = [open({ url, database }), open({ url, database })];
    const uuids = Array.from({ length: 100 }, () => newUuid());
    const writing = backend.write(uuids.map((uuid) => write(uuid, 'SUCCESS')));
    await backend.close();
    const outcomes = await writing;
    const read = await reader.read(uuids);
    for (const [i, { status }] of outcomes.entries()) if (status === 'stored') expect(read[i]).toBeDefined();
  });
});
