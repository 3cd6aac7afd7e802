// From a URL's scheme to the package that serves it, and from the config to its options. Only the package that is needed is
// imported: who has Redis need not install the others.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import type { Backend } from '../backend.ts';
import type { Broker } from '../broker.ts';
import { MachineryError } from '../errors.ts';
import type { Lock } from '../lock.ts';
import { checkOptions, fn, invalidOption, optional } from '../options.ts';
import type { Config } from './config.ts';
import { tlsOf } from './tls.ts';

export interface CreateOptions {
  /**
   * Imports a package, where neither this one nor the program finds it: `(name) => import(name)` from a file that does. Default: from here,
   * then from the program's folder and the working directory.
   */
  readonly import?: (name: string) => Promise<unknown>;
}

/** How one kind of adapter is made. */
interface Maker {
  readonly package: string;
  /** What the package exports. */
  readonly class: string;
  readonly options: (config: Config, url: string) => object;
  /** What may change while it runs, by the path of the setting. */
  readonly live?: Readonly<Record<string, (adapter: never, config: Config) => void>>;
  /** What it may not, though it could without this adapter. */
  readonly fixed?: readonly string[];
}

type Makers = ReadonlyMap<string, Maker>;

const memory = '@machinery/core/memory';
const nothing = (): object => ({});

/** Seconds in Go, where 0 is "as it comes". */
const inMs = (seconds: number) => (seconds > 0 ? seconds * 1_000 : undefined);

function redisOptions({ redis, tls }: Config, url: string): object {
  return given({
    url,
    clientName: redis.clientName,
    masterName: redis.masterName,
    sentinelPassword: redis.sentinelPassword,
    cluster: redis.clusterEnabled || undefined,
    connectTimeoutMs: inMs(redis.connectTimeout),
    commandTimeoutMs: inMs(Math.max(redis.readTimeout, redis.writeTimeout)),
    tls: tlsOf(tls),
  });
}

const redisBroker: Maker = {
  package: '@machinery/broker-redis',
  class: 'RedisBroker',
  options: (config, url) =>
    given({
      ...redisOptions(config, url),
      delayedTasksKey: config.redis.delayedTasksKey,
      delayedPollMs: config.redis.delayedTasksPollPeriod || undefined,
    }),
  live: {
    'redis.delayedTasksPollPeriod': (broker: { delayedPollMs: number }, { redis }) => {
      if (redis.delayedTasksPollPeriod > 0) broker.delayedPollMs = redis.delayedTasksPollPeriod;
    },
  },
};

const amqpBroker: Maker = {
  package: '@machinery/broker-amqp',
  class: 'AmqpBroker',
  options: ({ amqp, multipleBrokerSeparator: separator, tls }, url) =>
    given({
      url: separator === '' ? url : url.split(separator).filter((one) => one !== ''),
      exchange: amqp.exchange,
      exchangeType: amqp.exchangeType,
      bindingKey: amqp.bindingKey,
      queueArguments: amqp.queueDeclareArgs,
      bindingArguments: amqp.queueBindingArgs,
      autoDelete: amqp.autoDelete,
      prefetch: amqp.prefetchCount || undefined,
      delayedQueue: amqp.delayedQueue,
      delays: amqp.delayedQueue === '' ? undefined : 'delayed-queue',
      tls: tlsOf(tls),
    }),
  live: {
    'amqp.prefetchCount': (broker: { prefetch: number | undefined }, { amqp }) => {
      broker.prefetch = amqp.prefetchCount || undefined;
    },
  },
};

const sqsBroker: Maker = {
  package: '@machinery/broker-sqs',
  class: 'SqsBroker',
  options: ({ sqs }, url) =>
    given({
      url,
      waitTimeSeconds: sqs.receiveWaitTimeSeconds || undefined,
      visibilityTimeoutSeconds: sqs.receiveVisibilityTimeout || undefined,
    }),
};

const pubSubBroker: Maker = {
  package: '@machinery/broker-pubsub',
  class: 'PubSubBroker',
  options: ({ gcpPubsub: { project, subscription, maxExtension, createMissing } }, url) => {
    const [, projectInUrl, subscriptionInUrl] = /^\w+:\/\/([^/]*)\/?(.*)$/.exec(url) ?? [];
    return given({
      projectId: project || projectInUrl,
      subscription: subscription || subscriptionInUrl,
      maxExtensionMs: inMs(maxExtension ?? 0),
      createMissing: createMissing || undefined,
    });
  },
};

const redisBackend: Maker = { package: '@machinery/backend-redis', class: 'RedisBackend', options: redisOptions };

const amqpBackend: Maker = {
  package: '@machinery/backend-amqp',
  class: 'AmqpBackend',
  options: (config, url) =>
    given({ url, resultsExpireInSeconds: config.resultsExpireIn || undefined, tls: tlsOf(config.tls) }),
  fixed: ['resultsExpireIn'], // it is an argument of queues
};

const memcacheBackend: Maker = {
  package: '@machinery/backend-memcache',
  class: 'MemcacheBackend',
  options: (_, url) => ({ url }),
};

const mongoBackend: Maker = {
  package: '@machinery/backend-mongodb',
  class: 'MongoBackend',
  options: ({ mongodb }, url) => given({ url, database: mongodb.database }),
};

/** `dynamodb://region`, or the address of the service with `https://`. */
const dynamoBackend: Maker = {
  package: '@machinery/backend-dynamodb',
  class: 'DynamoBackend',
  options: ({ dynamodb }, url) => {
    const [, isHttp, rest = ''] = /^(?:dynamodb\+)?(https?:\/\/)?(?:dynamodb:\/\/)?(.*)$/.exec(url) ?? [];
    return given({
      ...(isHttp === undefined ? { region: rest.replace(/\/$/, '') } : { endpoint: `${isHttp}${rest}` }),
      taskStatesTable: dynamodb.taskStatesTable,
      groupMetasTable: dynamodb.groupMetasTable,
      createTables: dynamodb.createTables || undefined,
    });
  },
};

const redisLock: Maker = { package: '@machinery/lock-redis', class: 'RedisLock', options: redisOptions };

const redisSchemes = ['redis', 'rediss', 'redis+socket'];
const all = (schemes: readonly string[], maker: Maker) => schemes.map((scheme) => [scheme, maker] as const);

const brokers: Makers = new Map<string, Maker>([
  ...all(['amqp', 'amqps'], amqpBroker),
  ...all(redisSchemes, redisBroker),
  ...all(['https', 'http'], sqsBroker),
  ...all(['gcppubsub', 'pubsub'], pubSubBroker),
  ['memory', { package: memory, class: 'MemoryBroker', options: nothing }],
  ['eager', { package: memory, class: 'EagerBroker', options: nothing }],
]);

const backends: Makers = new Map<string, Maker>([
  ...all(['amqp', 'amqps'], amqpBackend),
  ...all(redisSchemes, redisBackend),
  ['memcache', memcacheBackend],
  ...all(['mongodb', 'mongodb+srv'], mongoBackend),
  ...all(['dynamodb', 'dynamodb+http', 'dynamodb+https', 'https', 'http'], dynamoBackend),
  ['memory', { package: memory, class: 'MemoryBackend', options: nothing }],
  ['eager', { package: memory, class: 'MemoryBackend', options: nothing }],
  ['null', { package: memory, class: 'NullBackend', options: nothing }],
]);

const locks: Makers = new Map<string, Maker>([
  ...all(redisSchemes, redisLock),
  ['eager', { package: '@machinery/lock-eager', class: 'EagerLock', options: nothing }],
]);

/**
 * The broker that `config.broker` names.
 * @throws MachineryError ERR_MACHINERY_INVALID_OPTION: a scheme that is not known, a package that is not installed, or what the adapter refuses.
 */
export function createBroker(config: Config, options: CreateOptions = {}): Promise<Broker> {
  return create('broker', config, options);
}

/** The result backend that `config.resultBackend` names. Throws as `createBroker` does. */
export function createBackend(config: Config, options: CreateOptions = {}): Promise<Backend> {
  return create('resultBackend', config, options);
}

/** The lock that `config.lock` names; undefined when it names none. Throws as `createBroker` does. */
export async function createLock(config: Config, options: CreateOptions = {}): Promise<Lock | undefined> {
  return config.lock === '' ? undefined : create('lock', config, options);
}

const tables = { broker: brokers, resultBackend: backends, lock: locks } as const;
type Role = keyof typeof tables;

/** What changes of the config can do to an adapter that was made by it, by the path of the setting. */
export function liveSettings(role: Role, config: Config): Required<Pick<Maker, 'live' | 'fixed'>> {
  const { live = {}, fixed = [] } = tables[role].get(schemeOf(config[role])) ?? {};
  return { live, fixed };
}

async function create<Adapter>(role: Role, config: Config, options: CreateOptions): Promise<Adapter> {
  checkOptions(`create${role === 'resultBackend' ? 'Backend' : role === 'broker' ? 'Broker' : 'Lock'}`, options, {
    import: optional(fn),
  });
  const url = config[role];
  const scheme = schemeOf(url);
  const maker = tables[role].get(scheme);
  if (maker === undefined) {
    const known = [...tables[role].keys()].join(', ');
    throw invalidOption(
      `The URL of \`${role}\` has ${scheme === '' ? 'no scheme' : `the scheme ${scheme}`}, expected one of ${known}`,
    );
  }
  const exported = (await imported(maker, options)) as Record<string, new (options: object) => Adapter>;
  const Adapter = exported[maker.class];
  if (Adapter === undefined)
    throw invalidOption(`${maker.package} has no ${maker.class}: install versions that go together`);
  return new Adapter(maker.options(config, url));
}

/** `redis` of `redis://…`, and `eager` of `eager`; empty where there is none. */
function schemeOf(url: string): string {
  return /^([a-z][\w+.-]*)(?::\/\/|$)/i.exec(url)?.[1]?.toLowerCase() ?? '';
}

async function imported({ package: name }: Maker, options: CreateOptions): Promise<unknown> {
  if (name === memory) return import('../memory/index.ts');
  const load = options.import ?? ((wanted) => import(wanted));
  try {
    return await load(name);
  } catch (error) {
    if (!isMissing(error, name)) throw error;
  }
  const path = options.import === undefined ? found(name) : undefined;
  if (path !== undefined) return import(pathToFileURL(path).href);
  throw new MachineryError('ERR_MACHINERY_INVALID_OPTION', `The package ${name} is not there: npm install ${name}`);
}

/** From where the program is, as package managers that keep packages apart do not show them here. */
function found(name: string): string | undefined {
  for (const from of [process.argv[1], join(process.cwd(), 'package.json')]) {
    if (from === undefined) continue;
    try {
      return createRequire(from).resolve(name);
    } catch (error) {
      if (!isMissing(error, name)) throw error;
    }
  }
  return undefined;
}

function isMissing(error: unknown, name: string): boolean {
  const { code, message = '' } = error as { code?: string; message?: string };
  return (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') && message.includes(name);
}

/** Without what is not given: an empty text is Go's zero value. */
function given(options: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined && value !== ''));
}
