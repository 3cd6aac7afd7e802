// States and group metas as Go Machinery stores them in DynamoDB. Whole states are put, 25 a request; what has to be merged is
// updated under a condition, and read only where that does not hold. Claims are updates under a condition, too.
//
// Neighbours: `items.ts` and `values.ts` (what is stored), `requests.ts` (how it gets there).

import { type AttributeValue, GetItemCommand, PutItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import {
  type Backend,
  type BackendCapabilities,
  type ChordClaim,
  type ContractVersion,
  consoleLogger,
  contractVersion,
  encodeState,
  errorText,
  failed,
  type GroupMeta,
  isFinal,
  type Logger,
  MachineryError,
  mergeState,
  type Outcome,
  type StateWrite,
  stored,
  type TaskState,
} from '@machinery/core';
import { isConditionFailure, isTooLarge } from './errors.ts';
import { type Change, changeOf, isLive, isUnchanged } from './expressions.ts';
import {
  checkBytes,
  groupItem,
  groupOf,
  type Item,
  isExpired,
  itemBytes,
  number,
  stateAttributes,
  stateItem,
  stateOf,
  ttlAfter,
} from './items.ts';
import { type DynamoBackendOptions, type ResolvedOptions, resolveOptions } from './options.ts';
import { leftOver, maxGets, maxPuts, Requests, type WriteRequests } from './requests.ts';
import { createTable } from './tables.ts';
import { isAmbiguous } from './values.ts';

/** The most bytes of an item, as DynamoDB counts them. */
const maxItemBytes = 400 * 1_024;
const maxKeyBytes = 2_048;
/** The most bytes of a state's JSON: in an item it takes no more, but for slices of short numbers. */
const maxStateBytes = 390_000;
/** A list's element takes one byte beside its UUID of 41. */
const maxGroupSize = 9_000;
/** The most bytes of items in one request, which may have 16 MB of JSON: each byte may take six there. */
const maxPutBytes = 2_000_000;
/** What decides how a state is merged with the one that is there. */
const mergedBy = ['State', 'TaskName', 'CreatedAt', 'TTL'] as const;

/** A state to put. */
interface Put {
  readonly item: Item;
  readonly bytes: number;
  /** Among the writes. */
  readonly place: number;
}

/** A result backend on Amazon DynamoDB, shared with Go's workers and clients. */
export class DynamoBackend implements Backend {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/backend-dynamodb';
  readonly capabilities: BackendCapabilities = Object.freeze({ storesResults: true, maxStateBytes, maxGroupSize });
  readonly #options: ResolvedOptions;
  readonly #requests: Requests;
  #logger: Logger = consoleLogger;
  #hasWarned = false;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: DynamoBackendOptions = {}) {
    this.#options = resolveOptions(options);
    const { createTables, taskStatesTable, groupMetasTable } = this.#options;
    const tables = [
      { name: taskStatesTable, key: 'TaskUUID' },
      { name: groupMetasTable, key: 'GroupUUID' },
    ];
    this.#requests = new Requests(this.#options, async (send) => {
      if (createTables) await Promise.all(tables.map((table) => createTable(send, table, this.#logger)));
    });
  }

  attach({ logger }: { readonly logger: Logger }): void {
    this.#logger = logger;
  }

  /** Failures are ERR_MACHINERY_BACKEND_UNAVAILABLE, which may pass, ERR_MACHINERY_BACKEND_FAILED, ERR_MACHINERY_STATE_TOO_LARGE and ERR_MACHINERY_CLOSED. */
  async write(writes: readonly StateWrite[]): Promise<Outcome[]> {
    const outcomes = new Array<Outcome>(writes.length);
    const puts: Put[] = [];
    const stores: Promise<void>[] = [];
    for (const [place, { state, expiresInSeconds }] of writes.entries()) {
      try {
        const item = stateItem(state, ttlAfter(expiresInSeconds)); // before its writer may change it
        const put = { item, bytes: checkedBytes(state, item), place };
        if (isWhole(state)) puts.push(put);
        else stores.push(this.#store(put, outcomes, () => this.#merge(state, item)));
      } catch (error) {
        outcomes[place] = failed(error as Error, false);
      }
    }
    for (const chunk of chunksOf(puts)) stores.push(this.#putAll(chunk, outcomes));
    await Promise.all(stores);
    return outcomes;
  }

  /** @throws MachineryError ERR_MACHINERY_BACKEND_UNAVAILABLE, ERR_MACHINERY_BACKEND_FAILED, ERR_MACHINERY_CLOSED, as do all calls below. */
  async read(taskUuids: readonly string[]): Promise<(TaskState | undefined)[]> {
    const once = [...new Set(taskUuids)].filter(canBeKey);
    const { taskStatesTable } = this.#options;
    const chunks: Promise<Item[]>[] = [];
    for (let from = 0; from < once.length; from += maxGets) {
      const keys = once.slice(from, from + maxGets).map(stateKey);
      chunks.push(this.#requests.read('read states', taskStatesTable, keys));
    }
    const items = new Map((await Promise.all(chunks)).flat().map((item) => [item.TaskUUID?.S, item]));
    // Each of several that ask for the same gets a state of its own
    return taskUuids.map((taskUuid) => this.#stateOf(items.get(taskUuid)));
  }

  async purge({
    tasks = [],
    groups = [],
  }: {
    readonly tasks?: readonly string[];
    readonly groups?: readonly string[];
  }): Promise<void> {
    const { taskStatesTable, groupMetasTable } = this.#options;
    const deletes = [
      ...[...new Set(tasks)].filter(canBeKey).map((uuid) => [taskStatesTable, stateKey(uuid)] as const),
      ...[...new Set(groups)].filter(canBeKey).map((uuid) => [groupMetasTable, groupKey(uuid)] as const),
    ];
    const doing = 'remove states';
    const deleting: Promise<void>[] = [];
    for (let from = 0; from < deletes.length; from += maxPuts) {
      const requests: WriteRequests = {};
      for (const [table, Key] of deletes.slice(from, from + maxPuts)) {
        requests[table] ??= [];
        requests[table].push({ DeleteRequest: { Key } });
      }
      deleting.push(
        this.#requests.write(doing, requests).then((left) => {
          const count = Object.values(left).flat().length;
          if (count > 0) throw leftOver(doing, count);
        }),
      );
    }
    await Promise.all(deleting);
  }

  async initGroup(meta: GroupMeta, expiresInSeconds: number): Promise<void> {
    const { groupUuid, taskUuids } = meta;
    const item = groupItem(meta, ttlAfter(expiresInSeconds));
    checkBytes(`The meta of group ${groupUuid} with ${taskUuids.length} members`, itemBytes(item), maxItemBytes);
    const command = new PutItemCommand({ TableName: this.#options.groupMetasTable, Item: item });
    await this.#requests.send(`store group ${groupUuid}`, (client, options) => client.send(command, options));
  }

  async readGroup(groupUuid: string): Promise<GroupMeta | undefined> {
    const item = await this.#groupItem(`read group ${groupUuid}`, groupUuid);
    return item && groupOf(item);
  }

  async renewGroup(groupUuid: string, expiresInSeconds: number): Promise<void> {
    await this.#changeGroup(`renew group ${groupUuid}`, groupUuid, {
      set: { TTL: number(ttlAfter(expiresInSeconds)) },
      condition: 'attribute_exists(#GroupUUID) AND #TTL > :now AND #TTL < :TTL',
    });
  }

  /**
   * The claim sets Go's flag, too: a Go worker that looks from then on sends nothing.
   * @throws MachineryError ERR_MACHINERY_GROUP_EXPIRED
   */
  async claimChord(groupUuid: string, claimant: string): Promise<ChordClaim> {
    const doing = `claim the chord of group ${groupUuid}`;
    for (;;) {
      const isClaimed = await this.#changeGroup(doing, groupUuid, {
        set: { ClaimedBy: { S: claimant }, ChordTriggered: { BOOL: true } },
        condition: `${isLive('GroupUUID')} AND (#ClaimedBy = :ClaimedBy OR (attribute_not_exists(#ClaimedBy) AND NOT #ChordTriggered = :true))`,
      });
      if (isClaimed) return 'claimed';
      const item = await this.#groupItem(doing, groupUuid, ['ClaimedBy', 'ChordTriggered', 'TTL']);
      if (item === undefined)
        throw new MachineryError('ERR_MACHINERY_GROUP_EXPIRED', `Group ${groupUuid} is not there or has expired`);
      const { ClaimedBy, ChordTriggered } = item;
      if (ClaimedBy !== undefined && ClaimedBy.S !== claimant) return 'other';
      if (ClaimedBy === undefined && ChordTriggered?.BOOL === true) return 'done';
      // It was started again in between
    }
  }

  async finishChord(groupUuid: string): Promise<void> {
    await this.#changeGroup(`finish the chord of group ${groupUuid}`, groupUuid, {
      set: { ChordTriggered: { BOOL: true } },
      remove: ['ClaimedBy'],
      condition: isLive('GroupUUID'),
    });
  }

  /** Ends the client, unless it was given, after what is under way has ended or a second has passed. */
  close(): Promise<void> {
    return this.#requests.close();
  }

  async #store({ place }: Put, outcomes: Outcome[], store: () => Promise<unknown>): Promise<void> {
    try {
      await store();
      outcomes[place] = stored;
    } catch (error) {
      outcomes[place] = failureOf(error as MachineryError);
    }
  }

  /** DynamoDB refuses a batch for what one of them is: then each is put by itself. */
  async #putAll(puts: readonly Put[], outcomes: Outcome[]): Promise<void> {
    const { taskStatesTable } = this.#options;
    const doing = `store ${puts.length} states`;
    try {
      const requests = { [taskStatesTable]: puts.map(({ item }) => ({ PutRequest: { Item: item } })) };
      const { [taskStatesTable]: left = [] } = await this.#requests.write(doing, requests);
      const missing = new Set(left.map(({ PutRequest }) => PutRequest?.Item?.TaskUUID?.S));
      for (const { item, place } of puts)
        outcomes[place] = missing.has(item.TaskUUID?.S) ? failed(leftOver(doing, left.length), true) : stored;
    } catch (error) {
      const failure = failureOf(error as MachineryError);
      if (puts.length > 1 && failure.status === 'failed' && !failure.retryable)
        await Promise.all(puts.map((put) => this.#store(put, outcomes, () => this.#put(put.item))));
      else for (const { place } of puts) outcomes[place] = failure;
    }
  }

  /** @param condition Answers whether it held. */
  #put(item: Item, condition?: ReturnType<typeof isUnchanged>): Promise<boolean> {
    const command = new PutItemCommand({ TableName: this.#options.taskStatesTable, Item: item, ...condition });
    return unlessRefused(this.#requests.send(storing(item), (client, options) => client.send(command, options)));
  }

  /** Updates what is there, or nothing; what may win over this state, or has expired, is read and decided on by `mergeState`. */
  async #merge(state: TaskState, item: Item): Promise<void> {
    const { TaskUUID, ...set } = item;
    const isOpen = isFinal(state.state) ? '' : ' AND NOT #State IN (:SUCCESS, :FAILURE)';
    const updated = await this.#change(storing(item), this.#options.taskStatesTable, stateKey(state.taskUuid), {
      set,
      remove: stateAttributes.filter((name) => set[name] === undefined && name !== 'TaskName' && name !== 'CreatedAt'),
      condition: `attribute_not_exists(#TaskUUID) OR (${isLive('TaskUUID')}${isOpen})`,
    });
    if (updated) return;
    for (;;) {
      const before = await this.#item(storing(item), this.#options.taskStatesTable, stateKey(state.taskUuid));
      const current = this.#stateOf(before);
      const merged = mergeState(current, state);
      if (merged === current) return;
      const { taskName, createdAt } = merged;
      const whole: Item = {
        ...item,
        ...(taskName !== '' && { TaskName: { S: taskName } }),
        ...(createdAt !== undefined && { CreatedAt: { S: createdAt } }),
      };
      if (await this.#put(whole, isUnchanged('TaskUUID', before, mergedBy))) return;
    }
  }

  /** Undefined for what is no state: whoever waits for it cannot be helped, and the others must not suffer. */
  #stateOf(item: Item | undefined): TaskState | undefined {
    if (item === undefined || isExpired(item)) return undefined;
    try {
      if (!this.#hasWarned && hasAmbiguousResult(item)) {
        this.#hasWarned = true;
        const text = 'Go has stored a []string as text with blanks between its elements: those with blanks come apart';
        this.#logger.warn(`${text} (task ${item.TaskUUID?.S} is the first)`);
      }
      return stateOf(item);
    } catch (error) {
      this.#logger.warn(`The item ${item.TaskUUID?.S} holds no state of a task: ${errorText(error)}`);
      return undefined;
    }
  }

  /** The item of a group, unless it has expired. */
  async #groupItem(doing: string, groupUuid: string, only?: readonly string[]): Promise<Item | undefined> {
    const item = await this.#item(doing, this.#options.groupMetasTable, groupKey(groupUuid), only);
    return item === undefined || isExpired(item) ? undefined : item;
  }

  async #item(doing: string, TableName: string, Key: Item, only?: readonly string[]): Promise<Item | undefined> {
    const command = new GetItemCommand({ TableName, Key, ConsistentRead: true, ...(only && projectionOf(only)) });
    return (await this.#requests.send(doing, (client, options) => client.send(command, options))).Item;
  }

  #changeGroup(doing: string, groupUuid: string, change: Change): Promise<boolean> {
    return this.#change(doing, this.#options.groupMetasTable, groupKey(groupUuid), change);
  }

  /** Answers whether the condition held. */
  #change(doing: string, TableName: string, Key: Item, change: Change): Promise<boolean> {
    const command = new UpdateItemCommand({ TableName, Key, ...changeOf(change) });
    return unlessRefused(this.#requests.send(doing, (client, options) => client.send(command, options)));
  }
}

/** What cannot has no item; asked for together with others, it would have all refused. */
function canBeKey(uuid: string): boolean {
  return uuid !== '' && Buffer.byteLength(uuid) <= maxKeyBytes;
}

function stateKey(taskUuid: string): Item {
  return { TaskUUID: { S: taskUuid } };
}

function groupKey(groupUuid: string): Item {
  return { GroupUUID: { S: groupUuid } };
}

function storing({ TaskUUID }: Item): string {
  return `store the state of task ${TaskUUID?.S}`;
}

/** Whether nothing of what is stored needs to be kept: PENDING starts over, and a final state says all. */
function isWhole({ state, createdAt, taskName }: TaskState): boolean {
  return state === 'PENDING' || (isFinal(state) && createdAt !== undefined && taskName !== '');
}

/** @throws MachineryError ERR_MACHINERY_STATE_TOO_LARGE */
function checkedBytes(state: TaskState, item: Item): number {
  const what = `The ${state.state} state of task ${state.taskName} (${state.taskUuid})`;
  const bytes = itemBytes(item);
  checkBytes(what, bytes, maxItemBytes);
  // A byte of the item is six of JSON at most (\u0001)
  if (6 * bytes > maxStateBytes) checkBytes(what, Buffer.byteLength(encodeState(state)), maxStateBytes);
  return bytes;
}

/** As many as one request may have. */
function chunksOf(puts: readonly Put[]): Put[][] {
  const chunks: Put[][] = [];
  let bytes = 0;
  for (const put of puts) {
    const chunk = chunks.at(-1);
    if (chunk === undefined || chunk.length === maxPuts || bytes + put.bytes > maxPutBytes) {
      chunks.push([put]);
      bytes = put.bytes;
    } else {
      chunk.push(put);
      bytes += put.bytes;
    }
  }
  return chunks;
}

function projectionOf(names: readonly string[]) {
  return {
    ProjectionExpression: names.map((name) => `#${name}`).join(', '),
    ExpressionAttributeNames: Object.fromEntries(names.map((name) => [`#${name}`, name])),
  };
}

async function unlessRefused(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (isConditionFailure((error as MachineryError).cause)) return false;
    throw error;
  }
}

function failureOf(error: MachineryError): Outcome {
  if (!isTooLarge(error.cause)) return failed(error, error.code === 'ERR_MACHINERY_BACKEND_UNAVAILABLE');
  return failed(new MachineryError('ERR_MACHINERY_STATE_TOO_LARGE', error.message, { cause: error.cause }), false);
}

function hasAmbiguousResult({ State, Results }: Item): boolean {
  if (State?.S !== 'SUCCESS') return false;
  return (Results?.L ?? []).some(({ M: { Type, Value } = {} }: AttributeValue) => isAmbiguous(Type?.S ?? '', Value));
}
