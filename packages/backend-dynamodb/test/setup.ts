// The server, backends and clients of a test file, which end with it.

import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { type AttributeValue, DynamoDBClient, GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import type { Logger } from '@machinery/core';
import type { DynamoServer } from '@machinery/services';
import { afterAll } from 'vitest';
import { DynamoBackend, type DynamoBackendOptions } from '../src/index.ts';

export { newUuid, outcome, sampleTime as sentAt, sampleWrite as write } from '@machinery/services';

const ends: (() => unknown)[] = [];
afterAll(async () => {
  for (const end of ends.reverse()) await end();
});

/** Stops it with the tests. */
export function stopped<S extends DynamoServer>(server: S): S {
  ends.push(() => server.stop());
  return server;
}

/** A backend, and what it warns of. */
export function open(options: DynamoBackendOptions): DynamoBackend & { readonly warnings: string[] } {
  const backend = new DynamoBackend({ createTables: true, ...options });
  const warnings: string[] = [];
  const logger: Logger = { debug() {}, info() {}, warn: (text) => void warnings.push(text), error() {} };
  backend.attach({ logger });
  ends.push(() => backend.close());
  return Object.assign(backend, { warnings });
}

/** A client, and how often it sent each command, and how many at once. */
export function counted(endpoint: string) {
  const client = new DynamoDBClient({ endpoint });
  ends.push(() => client.destroy());
  const counts: Record<string, number> = {};
  const atOnce = { now: 0, most: 0 };
  client.middlewareStack.add(
    (next, { commandName = '' }) =>
      async (args) => {
        counts[commandName] = (counts[commandName] ?? 0) + 1;
        atOnce.most = Math.max(atOnce.most, ++atOnce.now);
        return next(args).finally(() => {
          atOnce.now--;
        });
      },
    { step: 'initialize' },
  );
  return { client, counts, atOnce };
}

export type Item = Record<string, AttributeValue>;

/** What is in the tables, as others see it. */
export function raw(endpoint: string) {
  const { client } = counted(endpoint);
  const place = (uuid: string) =>
    uuid.startsWith('group') ? { table: 'group_metas', key: 'GroupUUID' } : { table: 'task_states', key: 'TaskUUID' };
  return {
    client,
    async get(uuid: string): Promise<Item | undefined> {
      const { table, key } = place(uuid);
      return (await client.send(new GetItemCommand({ TableName: table, Key: { [key]: { S: uuid } } }))).Item;
    },
    async put(uuid: string, item: Item): Promise<void> {
      const { table, key } = place(uuid);
      await client.send(new PutItemCommand({ TableName: table, Item: { [key]: { S: uuid }, ...item } }));
    },
  };
}

interface Fault {
  /** The name of the error that is answered in place of what the server would. */
  readonly error?: string;
  /** What the server is asked in place of what was asked. */
  readonly input?: object;
  /** What the answer has besides. */
  readonly output?: object;
}

/** The server behind a proxy that makes what an emulator never does: throttling, batches that are left half done, rights. */
export async function faulty(endpoint: string, fault: (operation: string, input: Inputs) => Fault | undefined) {
  const server = createServer((request, response) => {
    void answer(request).then(({ status, body }) => {
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0' }).end(JSON.stringify(body));
    });
  });
  const answer = async (request: IncomingMessage) => {
    const asked = (await json(request)) as Inputs;
    const [, operation = ''] = String(request.headers['x-amz-target']).split('.');
    const { error, input = asked, output = {} } = fault(operation, asked) ?? {};
    if (error !== undefined)
      return { status: 400, body: { __type: `com.amazonaws#${error}`, message: 'by the proxy' } };
    const names = ['authorization', 'content-type', 'x-amz-date', 'x-amz-target'];
    const headers = Object.fromEntries(names.map((name) => [name, String(request.headers[name])]));
    const answered = await fetch(endpoint, { method: 'POST', headers, body: JSON.stringify(input) });
    return { status: answered.status, body: { ...((await answered.json()) as object), ...output } };
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ends.push(() => server.close().closeAllConnections());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export interface Inputs {
  readonly RequestItems: Record<string, { readonly Keys: Item[] } & readonly object[]>;
}
