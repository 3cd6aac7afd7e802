// Connections to Redis: one server, a Unix socket, Sentinels or a Cluster. What is lost with a connection is never sent
// again by the driver: a repeated command would count twice, and core decides what is tried again.

import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import type { ConnectionOptions } from 'node:tls';
import {
  booleanOption,
  type Check,
  integerOption,
  MachineryError,
  objectOption,
  optionalOption,
  stringOption,
} from '@machinery/core';
import { Cluster, type NatMap, Redis, type RedisOptions } from 'ioredis';
import { parseRedisUrl, withoutPassword } from './url.ts';

/** Replies come in the shapes that both protocols have. */
type Settings = Omit<RedisOptions, 'replyMapping'>;

/** Said, because `duplicate` keeps what a given client has. */
const legacy = { replyMapping: 'legacy' as const };

/** A client of ioredis. */
export type RedisClient = Redis | Cluster;

/** Where Redis is, for every adapter: a URL or a client. */
export interface RedisConnectionOptions {
  /**
   * `redis[s]://[[user:]password@]host[:port][,host[:port]…][/db]` (a lone user is the password, as in Go) or
   * `redis+socket://[password@]/path[:/db]`. Several hosts are nodes of a Cluster, or Sentinels when there is a `masterName`.
   */
  readonly url?: string;
  /** A client of ioredis in place of a URL: its settings are taken for connections of our own. It is neither used nor closed. */
  readonly client?: RedisClient;
  /** The hosts are Sentinels, and this is the name of the master that they watch. */
  readonly masterName?: string;
  readonly sentinelUsername?: string;
  readonly sentinelPassword?: string;
  /** The one host is a node of a Cluster. Default: false; several hosts are one anyway. */
  readonly cluster?: boolean;
  /** Shown by CLIENT LIST. */
  readonly clientName?: string;
  /** Options of the TLS connection, which `rediss://` has by itself: certificates, for one. */
  readonly tls?: ConnectionOptions;
  /** How long connecting may take, in milliseconds. Default: 10,000. */
  readonly connectTimeoutMs?: number;
  /** How long an answer may take, in milliseconds, before the server counts as away. Default: 10,000. */
  readonly commandTimeoutMs?: number;
}

/** Checks of these options, for the adapter's own. */
export const connectionChecks: Record<keyof RedisConnectionOptions, Check> = {
  url: optionalOption(stringOption),
  client: optionalOption((value) => (isClient(value) ? undefined : 'a Redis or a Cluster of ioredis')),
  masterName: optionalOption(stringOption),
  sentinelUsername: optionalOption(stringOption),
  sentinelPassword: optionalOption(stringOption),
  cluster: optionalOption(booleanOption),
  clientName: optionalOption(stringOption),
  tls: optionalOption(objectOption),
  connectTimeoutMs: optionalOption(integerOption({ min: 1, max: 2 ** 31 - 1 })),
  commandTimeoutMs: optionalOption(integerOption({ min: 1, max: 2 ** 31 - 1 })),
};

/** Where a connection leads, as data that can be sent to another thread. */
export interface RedisWhere {
  /** Of a Cluster. */
  readonly nodes?: readonly { readonly host: string; readonly port: number }[];
  readonly natMap?: NatMap;
  readonly settings: RedisOptions;
}

/** How long `close` waits for answers that are on their way, in milliseconds. */
const closingMs = 1_000;

/** An open connection, or a Cluster's. It connects with the first command, and again by itself. */
export class RedisConnection {
  readonly client: RedisClient;
  readonly isCluster: boolean;
  #closed: Promise<void> | undefined;

  constructor(client: RedisClient) {
    this.client = client;
    this.isCluster = isCluster(client);
    client.on('error', (error: Error & { command?: { name: string } }) => {
      if (client.status === 'connecting') flush(client, error); // says more than that there is no connection
      // ioredis goes on in database 0 when there is none of that number
      if (client.status !== 'connect' || error.command?.name !== 'select') return;
      flush(client, error);
      client.disconnect(true);
    });
    // What cannot be sent would wait for ever in a Cluster, and while no Sentinel knows the master
    if (isCluster(client)) client.on('reconnecting', () => flush(client, new Error('No node of the Cluster answers')));
    else
      client.options.sentinelRetryStrategy = (attempt) => {
        flush(client, new Error('No Sentinel knows where the master is'));
        return retryMs(attempt);
      };
  }

  /** Whether the settings of both lead to one database of one server: not in a Cluster, where keys have slots. */
  sharesDatabaseWith(other: RedisConnection): boolean {
    return !this.isCluster && !other.isCluster && databaseOf(this.client) === databaseOf(other.client);
  }

  /** For connections from another thread; undefined when the settings have what cannot be sent there, functions of TLS for one. */
  get where(): RedisWhere | undefined {
    const { client } = this;
    const options = isCluster(client) ? (client.options.redisOptions ?? {}) : client.options;
    const settings = Object.fromEntries(Object.entries(options).filter(([, value]) => typeof value !== 'function'));
    const cluster = isCluster(client) && {
      nodes: client.nodes().map(({ options: { host, port } }) => ({ host, port })),
      ...(client.options.natMap !== undefined && { natMap: client.options.natMap }),
    };
    try {
      return structuredClone({ settings, ...cluster }) as RedisWhere;
    } catch {
      return undefined;
    }
  }

  /** Ends the connection after the answers that are on their way. Safe to call twice. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await turn(); // commands of this turn go before QUIT, those of a Cluster at its end
    const { client } = this;
    if (client.status === 'end') return;
    const timer = new AbortController();
    const late = sleep(closingMs, undefined, { signal: timer.signal }).catch(() => {});
    const ended = new Promise<void>((resolve) => client.once('end', resolve));
    if (client.status === 'ready') client.quit().catch(() => {});
    else if (client.status === 'reconnecting') this.#endWaiting();
    else client.disconnect();
    await Promise.race([ended, late]);
    timer.abort();
    if ((client.status as string) !== 'end') client.disconnect();
  }

  /** Between two tries to connect, ioredis would leave commands that wait without an answer: a last try rejects them. */
  #endWaiting(): void {
    const { client } = this;
    client.disconnect();
    client.connect().catch(() => {});
    if (!this.isCluster) client.disconnect();
  }
}

/** Rejects what waits to be sent, or for its answer. */
function flush(client: RedisClient, error: Error): void {
  (client as unknown as { flushQueue(error: Error): void }).flushQueue(error);
}

/**
 * Opens a connection.
 * @param owner for error messages.
 * @param own settings that the adapter needs, over the options.
 * @throws MachineryError ERR_MACHINERY_INVALID_OPTION for a URL that is none, and for options that do not go together.
 */
export function connectRedis(
  owner: string,
  options: RedisConnectionOptions,
  own: Pick<RedisOptions, 'protocol'> = {},
): RedisConnection {
  const { url, client } = options;
  if ((url === undefined) === (client === undefined))
    throw invalid(`${owner}: expected either \`url\` or \`client\`, got ${url === undefined ? 'none' : 'both'}`);
  return new RedisConnection(
    client === undefined ? open(owner, url as string, options, own) : again(owner, client, options, own),
  );
}

function open(owner: string, url: string, options: RedisConnectionOptions, own: Settings): RedisClient {
  const { hosts, tls: isTls, ...address } = parseRedisUrl(url);
  const { masterName, cluster = hosts.length > 1 } = options;
  const tls = options.tls ?? (isTls ? {} : undefined);
  const common: Settings = { ...safe(options), ...own, ...address, ...(tls !== undefined && { tls }) };
  if (masterName !== undefined) {
    const { sentinelUsername, sentinelPassword } = options;
    if (hosts.length === 0) throw invalid(`${owner}: a \`masterName\` needs Sentinels, got ${withoutPassword(url)}`);
    return new Redis({
      ...common,
      name: masterName,
      sentinels: [...hosts],
      ...(sentinelUsername !== undefined && { sentinelUsername }),
      ...(sentinelPassword !== undefined && { sentinelPassword }),
      ...(tls !== undefined && { enableTLSForSentinelMode: true, sentinelTLS: tls }),
    });
  }
  if (!cluster) return new Redis({ ...common, ...hosts[0] });
  if (hosts.length === 0 || address.db)
    throw invalid(`${owner}: a Cluster has hosts and no database, got ${withoutPassword(url)}`);
  return new Cluster([...hosts], clusterOptions(common));
}

/** A connection with a given client's settings. */
function again(owner: string, client: RedisClient, options: RedisConnectionOptions, own: Settings): RedisClient {
  const { keyPrefix } = isCluster(client) ? { ...client.options.redisOptions, ...client.options } : client.options;
  if (keyPrefix)
    throw invalid(`${owner}: expected a client without \`keyPrefix\`, which Go does not know: got ${keyPrefix}`);
  if (isCluster(client)) {
    const { replyMapping: _, ...given } = client.options.redisOptions ?? {};
    return client.duplicate([], clusterOptions({ ...given, ...safe(options), ...own, ...legacy }));
  }
  const { replyMapping: _, ...given } = client.options;
  return client.duplicate({ ...given, ...safe(options), ...own, ...legacy });
}

/** What must be so: lost commands are not sent again but rejected, with the first try to reconnect that fails. */
function safe({ clientName, connectTimeoutMs = 10_000, commandTimeoutMs = 10_000 }: RedisConnectionOptions): Settings {
  return {
    lazyConnect: true,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    reconnectOnError: null,
    enableOfflineQueue: true,
    enableAutoPipelining: false, // the adapters batch; it would hold commands back until earlier ones are answered
    stringNumbers: false,
    retryStrategy: retryMs,
    connectTimeout: connectTimeoutMs,
    commandTimeout: commandTimeoutMs,
    socketTimeout: commandTimeoutMs, // a server that is gone without a word leaves a connection that looks well
    autoResubscribe: false, // it would leave a rejection that nobody handles
    ...(clientName !== undefined && { connectionName: clientName }),
  };
}

function clusterOptions({ retryStrategy: _, ...redisOptions }: Settings) {
  return {
    enableAutoPipelining: true,
    enableOfflineQueue: true,
    lazyConnect: true,
    clusterRetryStrategy: retryMs,
    retryDelayOnFailover: 0, // or what is lost with a node's connection is sent again
    slotsRefreshInterval: 15_000, // where the masters are now: it does not learn it from each command that went astray
    scaleReads: 'master' as const, // a replica may not know yet what was written
    redisOptions,
  };
}

function retryMs(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt, 5), 1_000);
}

function databaseOf({ options }: RedisClient): string {
  const { host, port, path, db, name, sentinels, username, password } = options as RedisOptions;
  return JSON.stringify([
    path ?? [host, port],
    db,
    name,
    name === undefined ? undefined : sentinels,
    username,
    password,
  ]);
}

/** Of another copy of ioredis, too. */
function isCluster(client: RedisClient): client is Cluster {
  return client.isCluster;
}

/** The same. */
function isClient(value: unknown): boolean {
  const { duplicate, status } = (value ?? {}) as Partial<RedisClient>;
  return typeof duplicate === 'function' && typeof status === 'string';
}

function invalid(text: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_OPTION', text);
}
