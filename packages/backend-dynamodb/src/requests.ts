// Requests to DynamoDB: so many at once, each with a limit of time, and what a batch leaves over again.

import { setTimeout as sleep } from 'node:timers/promises';
import {
  BatchGetItemCommand,
  BatchWriteItemCommand,
  DynamoDBClient,
  type DynamoDBClientConfig,
  type WriteRequest,
} from '@aws-sdk/client-dynamodb';
import pLimit, { type LimitFunction } from 'p-limit';
import { backendError, closedError, unavailable } from './errors.ts';
import type { Item } from './items.ts';
import type { ResolvedOptions } from './options.ts';

/** DynamoDB's limits of one request. */
export const maxPuts = 25;
export const maxGets = 100;
/** How often a batch is tried without anything of it being done. */
const maxTries = 6;
const connectTimeoutMs = 5_000;
/** How long `close` waits for what is under way, in milliseconds. */
const closingMs = 1_000;

/** For `client.send`. */
export interface SendOptions {
  readonly abortSignal: AbortSignal;
}

/** Sends one request. @throws MachineryError, `doing` being what could not be done. */
export type Send = <T>(doing: string, call: (client: DynamoDBClient, options: SendOptions) => Promise<T>) => Promise<T>;

export type WriteRequests = Record<string, WriteRequest[]>;

export class Requests {
  readonly #client: DynamoDBClient;
  readonly #isOwn: boolean;
  readonly #timeoutMs: number;
  readonly #limit: LimitFunction;
  readonly #hint: string;
  readonly #prepare: (send: Send) => Promise<unknown>;
  readonly #underWay = new Map<AbortController, Promise<unknown>>();
  #prepared: Promise<unknown> | undefined;
  #closed: Promise<void> | undefined;

  /** @param prepare is called once before the first request. */
  constructor(options: ResolvedOptions, prepare: (send: Send) => Promise<unknown>) {
    const { client, maxRequests, requestTimeoutMs, taskStatesTable, groupMetasTable } = options;
    this.#client = client ?? new DynamoDBClient(configOf(options));
    this.#isOwn = client === undefined;
    this.#timeoutMs = requestTimeoutMs;
    this.#limit = pLimit(maxRequests);
    this.#hint = `: create the tables ${taskStatesTable} with the key TaskUUID and ${groupMetasTable} with the key GroupUUID, both of strings`;
    this.#prepare = prepare;
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  /** @throws MachineryError ERR_MACHINERY_CLOSED, _BACKEND_UNAVAILABLE, _BACKEND_FAILED, `doing` being what could not be done. */
  async send<T>(doing: string, call: (client: DynamoDBClient, options: SendOptions) => Promise<T>): Promise<T> {
    if (this.isClosed) throw closedError();
    await this.#isPrepared();
    return this.#limit(() => this.#send(doing, call));
  }

  /** Answers what was left over each time, if something was. */
  async write(doing: string, requests: WriteRequests): Promise<WriteRequests> {
    return again(requests, countOf, async (RequestItems) => {
      const command = new BatchWriteItemCommand({ RequestItems });
      const { UnprocessedItems = {} } = await this.send(doing, (client, options) => client.send(command, options));
      return UnprocessedItems;
    });
  }

  /** Reads up to 100 different keys, in any order. */
  async read(doing: string, table: string, keys: Item[]): Promise<Item[]> {
    const items: Item[] = [];
    const left = await again(
      keys,
      ({ length }) => length,
      async (Keys) => {
        const command = new BatchGetItemCommand({ RequestItems: { [table]: { Keys, ConsistentRead: true } } });
        const read = await this.send(doing, (client, options) => client.send(command, options));
        items.push(...(read.Responses?.[table] ?? []));
        return read.UnprocessedKeys?.[table]?.Keys ?? [];
      },
    );
    if (left.length > 0) throw leftOver(doing, left.length);
    return items;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const timer = new AbortController();
    const late = sleep(closingMs, undefined, { signal: timer.signal, ref: false }).catch(() => {});
    await Promise.race([Promise.allSettled(this.#underWay.values()), late]);
    timer.abort();
    for (const abort of this.#underWay.keys()) abort.abort();
    if (this.#isOwn) this.#client.destroy();
  }

  #isPrepared(): Promise<unknown> {
    this.#prepared ??= this.#prepare((doing, call) => this.#send(doing, call)).catch((error) => {
      this.#prepared = undefined;
      throw error;
    });
    return this.#prepared;
  }

  async #send<T>(doing: string, call: (client: DynamoDBClient, options: SendOptions) => Promise<T>): Promise<T> {
    if (this.isClosed) throw closedError(); // while it waited for its turn
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), this.#timeoutMs);
    try {
      const answer = call(this.#client, { abortSignal: abort.signal });
      this.#underWay.set(abort, answer);
      return await answer;
    } catch (error) {
      if (!abort.signal.aborted) throw backendError(doing, error, this.#hint);
      if (this.isClosed) throw closedError();
      throw unavailable(`DynamoDB could not ${doing}: no answer within ${this.#timeoutMs} ms`);
    } finally {
      clearTimeout(timer);
      this.#underWay.delete(abort);
    }
  }
}

function configOf({ region, credentials, endpoint }: ResolvedOptions): DynamoDBClientConfig {
  return {
    ...(region !== undefined && { region }),
    ...(credentials !== undefined && { credentials }),
    ...(endpoint !== undefined && { endpoint }),
    requestHandler: { connectionTimeout: connectTimeoutMs },
  };
}

/** The error of what a batch left over to the end. */
export function leftOver(doing: string, count: number): Error {
  return unavailable(
    `DynamoDB could not ${doing}: it left over ${count} each time, the table has too little throughput`,
  );
}

function countOf(requests: WriteRequests): number {
  return Object.values(requests).reduce((sum, { length }) => sum + length, 0);
}

/** Calls with what the call before has left over: a moment later, and later and later while nothing is done. Answers what is left in the end. */
async function again<T>(batch: T, count: (batch: T) => number, call: (batch: T) => Promise<T>): Promise<T> {
  let left = batch;
  for (let failures = 0; ; ) {
    const before = count(left);
    left = await call(left);
    if (count(left) === 0) return left;
    failures = count(left) < before ? 1 : failures + 1;
    if (failures === maxTries) return left;
    await sleep(2 ** failures * 25 * (0.5 + Math.random() / 2));
  }
}
