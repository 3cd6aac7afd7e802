// A DynamoDB that is away, stands still, has too little throughput, or refuses.

import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { startDynamo } from '@machinery/services';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { DynamoBackend as Backend, type DynamoBackend, type DynamoBackendOptions } from '../src/index.ts';
import { counted, faulty, type Inputs, newUuid, open, outcome, raw, stopped, write } from './setup.ts';

const dynamo = stopped(await startDynamo({ durable: true }));
const { endpoint } = dynamo;
await open({ endpoint }).read(['creates the tables']);

const group = { groupUuid: newUuid('group'), taskUuids: ['x'], chordTriggered: false, lock: false };
const everyCall = (backend: DynamoBackend) => [
  backend.read(['x']),
  backend.purge({ tasks: ['x'] }),
  backend.initGroup(group, 60),
  backend.readGroup(group.groupUuid),
  backend.renewGroup(group.groupUuid, 60),
  backend.claimChord(group.groupUuid, 'x'),
  backend.finishChord(group.groupUuid),
];
const both = () => [write(newUuid(), 'SUCCESS'), write(newUuid(), 'STARTED')];

describe('a server', { timeout: 30_000 }, () => {
  it('that is away fails every call, to be tried again, and everything works when it is back', async () => {
    const backend = open({ endpoint, createTables: false });
    const [kept] = both();
    await backend.write([kept as typeof kept & object]);
    await dynamo.kill();
    let isAway = true;
    onTestFinished(() => (isAway ? dynamo.start() : undefined));
    const written = await outcome(backend.write(both()));
    const failure = { status: 'failed', retryable: true, error: { code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' } };
    expect(written.answer).toMatchObject([failure, failure]);
    for (const { code, message, tookMs } of await Promise.all(everyCall(backend).map(outcome))) {
      expect(code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
      expect(message).toMatch(/^DynamoDB could not .*ECONNREFUSED/);
      expect(tookMs).toBeLessThan(5_000);
    }
    await dynamo.start();
    isAway = false;
    expect(await backend.write(both())).toEqual([{ status: 'stored' }, { status: 'stored' }]);
    expect((await backend.read([kept?.state.taskUuid as string]))[0]?.state).toBe('SUCCESS');
  });

  it('that stands still counts as away after the time for an answer, and keeps nobody from closing', async () => {
    const backend = open({ endpoint, requestTimeoutMs: 300 });
    const patient = open({ endpoint });
    await Promise.all([backend.read(['x']), patient.read(['x'])]);
    await dynamo.kill('SIGSTOP');
    onTestFinished(() => dynamo.kill('SIGCONT'));
    const { code, message } = await outcome(backend.read(['x']));
    expect([code, message]).toEqual([
      'ERR_MACHINERY_BACKEND_UNAVAILABLE',
      'DynamoDB could not read states: no answer within 300 ms',
    ]);
    expect(await backend.write(both())).toMatchObject(Array(2).fill({ status: 'failed', retryable: true }));
    const fresh = open({ endpoint, requestTimeoutMs: 300 }); // which looks for its tables first
    expect((await outcome(fresh.read(['x']))).message).toMatch(/^DynamoDB could not find table .* within 300 ms$/);
    const reading = outcome(patient.read(['x']));
    const { tookMs } = await outcome(patient.close());
    expect(tookMs).toBeLessThan(3_000);
    expect((await reading).code).toBe('ERR_MACHINERY_CLOSED');
  });

  it('without the tables says which to create, and is not asked again', async () => {
    const backend = open({ endpoint, createTables: false, taskStatesTable: 'no_states', groupMetasTable: 'no_metas' });
    const advice = 'create the tables no_states with the key TaskUUID and no_metas with the key GroupUUID';
    const refused = { code: 'ERR_MACHINERY_BACKEND_FAILED', message: expect.stringContaining(advice) };
    for (const answer of await Promise.all(everyCall(backend).map(outcome))) expect(answer).toMatchObject(refused);
    const failure = { status: 'failed', retryable: false, error: refused };
    expect(await backend.write(both())).toMatchObject([failure, failure]);
  });

  it('gets its tables once from several that want them at once, and warns where nothing is ever deleted', async () => {
    const tables = { taskStatesTable: newUuid(), groupMetasTable: newUuid('group') };
    const backends = [0, 1, 2].map(() => open({ endpoint, ...tables }));
    expect(await Promise.all(backends.map((backend) => backend.read(['x'])))).toEqual(Array(3).fill([undefined]));
    await backends[0]?.initGroup(group, 60);
    // dynalite does not know TTL
    expect(backends.flatMap(({ warnings }) => warnings).join()).toContain(
      `What has expired stays in table ${tables.taskStatesTable}`,
    );
  });

  it('that is creating a table for somebody else is waited for', async () => {
    const asked: string[] = [];
    const creating = (operation: string) => {
      asked.push(operation);
      const isFirst = asked.length <= 2; // of each of the two tables
      return isFirst && operation === 'DescribeTable' ? { output: { Table: { TableStatus: 'CREATING' } } } : undefined;
    };
    const backend = open({ endpoint: await faulty(endpoint, creating) });
    expect(await backend.read(['x'])).toEqual([undefined]);
    expect(asked).toEqual([...Array(4).fill('DescribeTable'), 'BatchGetItem']);
  });
});

describe('an answer', { timeout: 30_000 }, () => {
  it.each([
    ['is cut short', (response: ServerResponse) => response.writeHead(200, { 'content-length': 99 }).write('{"Resp')],
    ['is no JSON', (response: ServerResponse) => response.end('<html>')],
  ])('that %s is as if the server were away', async (_, answer) => {
    const server = createServer((request, response) => {
      answer(response);
      request.resume().once('end', () => setImmediate(() => response.destroy()));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close().closeAllConnections());
    const { port } = server.address() as AddressInfo;
    const backend = open({ endpoint: `http://127.0.0.1:${port}`, createTables: false });
    const away = { code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' };
    expect(await outcome(backend.read(['x']))).toMatchObject(away);
    const failure = { status: 'failed', retryable: true, error: away };
    expect(await backend.write(both())).toMatchObject([failure, failure]);
  });
});

describe('throughput', { timeout: 30_000 }, () => {
  /** How many of the items of a batch are done; the others are left over. */
  let done = Number.POSITIVE_INFINITY;
  let error: string | undefined;
  let asked = 0;
  beforeEach(() => {
    done = Number.POSITIVE_INFINITY;
    error = undefined;
    asked = 0;
  });
  const part = (operation: string, { RequestItems }: Inputs) => {
    asked++;
    if (error !== undefined) return { error };
    if (done === Number.POSITIVE_INFINITY || !/^Batch/.test(operation)) return undefined;
    const [table = '', items] = Object.entries(RequestItems)[0] ?? [];
    const isRead = operation === 'BatchGetItem';
    const all: readonly object[] = (isRead ? items?.Keys : items) ?? [];
    const wrap = (some: readonly object[]) => ({ [table]: isRead ? { ...items, Keys: some } : some });
    const left = { [isRead ? 'UnprocessedKeys' : 'UnprocessedItems']: all.length > done ? wrap(all.slice(done)) : {} };
    // Of nothing, another table is asked, as an empty batch is refused
    return {
      input: {
        RequestItems:
          done === 0
            ? {
                [table]: isRead
                  ? { Keys: [{ TaskUUID: { S: '-' } }] }
                  : [{ DeleteRequest: { Key: { TaskUUID: { S: '-' } } } }],
              }
            : wrap(all.slice(0, done)),
      },
      output: left,
    };
  };
  let backend: DynamoBackend;
  beforeEach(async () => {
    backend = open({ endpoint: await faulty(endpoint, part), createTables: false });
  });
  afterEach(() => backend.close());

  it('that leaves over most of each batch is asked until all is done', async () => {
    done = 7;
    const writes = Array.from({ length: 25 }, () => write(newUuid(), 'SUCCESS'));
    const uuids = writes.map(({ state }) => state.taskUuid);
    expect(await backend.write(writes)).toEqual(Array(25).fill({ status: 'stored' }));
    expect(asked).toBe(4);
    expect((await backend.read(uuids)).map((state) => state?.taskUuid)).toEqual(uuids);
    expect(asked).toBe(8);
    await backend.purge({ tasks: uuids });
    expect(asked).toBe(12);
    expect(await backend.read(uuids)).toEqual(uuids.map(() => undefined));
  });

  it('of nothing is given up after six tries, to be tried again later', async () => {
    done = 0;
    const [one, two] = [write(newUuid(), 'SUCCESS'), write(newUuid(), 'SUCCESS')];
    const failure = { status: 'failed', retryable: true, error: { code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' } };
    const [written, ...others] = await Promise.all([
      backend.write([one, two]),
      outcome(backend.read(['x'])),
      outcome(backend.purge({ tasks: ['x'] })),
    ]);
    expect(written).toMatchObject([failure, failure]);
    for (const { code, message } of others) {
      expect(code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
      expect(message).toContain('the table has too little throughput');
    }
    expect(asked).toBe(18);
  });

  it.each([
    ['ProvisionedThroughputExceededException', 'ERR_MACHINERY_BACKEND_UNAVAILABLE'],
    ['ThrottlingException', 'ERR_MACHINERY_BACKEND_UNAVAILABLE'],
    ['ExpiredTokenException', 'ERR_MACHINERY_BACKEND_UNAVAILABLE'],
    ['AccessDeniedException', 'ERR_MACHINERY_BACKEND_FAILED'],
    ['UnrecognizedClientException', 'ERR_MACHINERY_BACKEND_FAILED'],
  ])('and rights: %s is %s', async (name, code) => {
    error = name;
    const [read, written] = await Promise.all([
      backend.read(['x']).catch((reason: unknown) => reason),
      backend.write(both()),
    ]);
    expect(read).toMatchObject({ code, message: expect.stringContaining(name) });
    expect(inspect(read, { depth: 9, showHidden: true })).not.toMatch(/AWS4-HMAC/); // the request is not kept with its signature
    const failure = { status: 'failed', retryable: code.endsWith('UNAVAILABLE'), error: { code } };
    expect(written).toMatchObject([failure, failure]);
  });
});

describe('a client', () => {
  it('that was given is used, and left open', async () => {
    const { client, counts } = counted(endpoint);
    const backend = new Backend({ client });
    const [success] = both();
    await backend.write([success as NonNullable<typeof success>]);
    await backend.close();
    expect(counts).toEqual({ BatchWriteItemCommand: 1 });
    expect((await raw(endpoint).get(success?.state.taskUuid as string))?.State).toEqual({ S: 'SUCCESS' });
    expect(await open({ client }).read([success?.state.taskUuid as string])).toMatchObject([{ state: 'SUCCESS' }]);
  });

  it('without credentials says so, and may find some later', async () => {
    const backend = open({
      endpoint,
      credentials: async () => {
        throw Object.assign(new Error('Could not load credentials'), { name: 'CredentialsProviderError' });
      },
    });
    expect(await outcome(backend.read(['x']))).toMatchObject({
      code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE',
      message: expect.stringContaining('Could not load credentials'),
    });
  });
});

describe('options', () => {
  it.each([
    [{ endpoint: 'localhost' }, 'expected `endpoint` to be a URL with http:// or https://, got `localhost` (string)'],
    [{ maxRequests: 0 }, 'expected `maxRequests` to be an integer >= 1 and <= 1000, got `0` (number)'],
    [{ taskStatesTable: '' }, 'expected `taskStatesTable` to be a string that is not empty'],
    [{ taskStatesTable: 'a', groupMetasTable: 'a' }, 'to be two tables'],
    [{ client: {} }, 'expected `client` to be a DynamoDBClient'],
    [{ client: { send() {} }, region: 'x' }, '`region` is that of `client`'],
    [{ tables: 2 }, 'unknown option `tables`'],
  ] as [object, string][])('that are wrong are an error that names them: %j', (options, text) => {
    const error = { code: 'ERR_MACHINERY_INVALID_OPTION', message: expect.stringContaining(`DynamoBackend: `) };
    expect(() => new Backend(options as DynamoBackendOptions)).toThrowError(expect.objectContaining(error));
    expect(() => new Backend(options as DynamoBackendOptions)).toThrowError(text);
  });

  it('that are secret are not shown', () => {
    expect(() => new Backend({ credentials: 'hunter2' as never })).toThrowError(/^(?!.*hunter2)/);
  });
});
