// Which adapter a URL names, with which options, and what a file that changes does to a server.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  type Config,
  configFromEnvironment,
  configFromYaml,
  createBackend,
  createBroker,
  createLock,
  createServer,
} from '../../src/config/index.ts';
import { EagerBroker, MemoryBackend, MemoryBroker, NullBackend } from '../../src/memory/index.ts';

const memory = { broker: 'memory://', resultBackend: 'memory://' };

function configOf(changes: Partial<Config> = {}): Config {
  return { ...configFromEnvironment({}), ...memory, ...changes };
}

/** Stands for a package that exports a class: keeps what it is made with. */
function packages(...classes: string[]) {
  const made: object[] = [];
  const names: string[] = [];
  const from = async (name: string) => {
    names.push(name);
    return Object.fromEntries(
      classes.map((one) => [
        one,
        class {
          prefetch = 1;
          delayedPollMs = 2;
          constructor(options: object) {
            made.push(options);
          }
        },
      ]),
    );
  };
  return { made, names, options: { import: from } };
}

describe('in this package', () => {
  it.each([
    ['memory://', MemoryBroker],
    ['memory', MemoryBroker],
    ['eager://', EagerBroker],
    ['eager', EagerBroker],
  ])('broker %s', async (broker, type) => {
    expect(await createBroker(configOf({ broker }))).toBeInstanceOf(type);
  });

  it.each([
    ['memory://', MemoryBackend],
    ['eager', MemoryBackend],
    ['null://', NullBackend],
  ])('backend %s', async (resultBackend, type) => {
    expect(await createBackend(configOf({ resultBackend }))).toBeInstanceOf(type);
  });

  it('has no lock where none is named', async () => {
    expect(await createLock(configOf())).toBeUndefined();
  });
});

describe('in packages of their own', () => {
  const tls = { caFile: '', certFile: '', keyFile: '', serverName: 'me', insecureSkipVerify: true };
  const defaults = configFromEnvironment({});

  it('Redis', async () => {
    const broker = packages('RedisBroker');
    const config = configOf({ broker: 'redis://h', resultBackend: 'rediss://h', lock: 'redis+socket:///s' });
    await createBroker(config, broker.options);
    expect(broker.names).toEqual(['@machinery/broker-redis']);
    const common = { connectTimeoutMs: 15_000, commandTimeoutMs: 15_000 };
    expect(broker.made).toEqual([{ url: 'redis://h', ...common, delayedPollMs: 500 }]);
    const others = packages('RedisBackend', 'RedisLock');
    await createBackend(config, others.options);
    await createLock(config, others.options);
    expect(others.names).toEqual(['@machinery/backend-redis', '@machinery/lock-redis']);
    expect(others.made).toEqual([
      { url: 'rediss://h', ...common },
      { url: 'redis+socket:///s', ...common },
    ]);
    const redis = {
      ...defaults.redis,
      connectTimeout: 0,
      readTimeout: 3,
      writeTimeout: 4,
      delayedTasksPollPeriod: 0,
      delayedTasksKey: 'k',
      clientName: 'c',
      masterName: 'm',
      sentinelPassword: 's',
      clusterEnabled: true,
    };
    await createBroker({ ...config, redis, tls }, broker.options);
    expect(broker.made.at(-1)).toEqual({
      url: 'redis://h',
      commandTimeoutMs: 4_000,
      delayedTasksKey: 'k',
      clientName: 'c',
      masterName: 'm',
      sentinelPassword: 's',
      cluster: true,
      tls: { servername: 'me', rejectUnauthorized: false },
    });
  });

  it('AMQP', async () => {
    const there = packages('AmqpBroker', 'AmqpBackend');
    const config = configOf({ broker: 'amqp://a;amqps://b', resultBackend: 'amqps://b', multipleBrokerSeparator: ';' });
    await createBroker(config, there.options);
    await createBackend({ ...config, resultsExpireIn: 60, tls }, there.options);
    expect(there.made).toEqual([
      {
        url: ['amqp://a', 'amqps://b'],
        exchange: 'machinery_exchange',
        exchangeType: 'direct',
        bindingKey: 'machinery_task',
        queueArguments: {},
        bindingArguments: {},
        autoDelete: false,
        prefetch: 3,
      },
      { url: 'amqps://b', resultsExpireInSeconds: 60, tls: { servername: 'me', rejectUnauthorized: false } },
    ]);
    const amqp = { ...config.amqp, prefetchCount: 0, delayedQueue: 'later', queueDeclareArgs: { a: 1 } };
    await createBroker({ ...config, broker: 'amqp://a', multipleBrokerSeparator: '', amqp }, there.options);
    expect(there.made.at(-1)).toMatchObject({
      url: 'amqp://a',
      delays: 'delayed-queue',
      delayedQueue: 'later',
      queueArguments: { a: 1 },
    });
    expect(there.made.at(-1)).not.toHaveProperty('prefetch');
  });
});

it.each([
  ['https://sqs.eu-central-1.amazonaws.com/1', { url: 'https://sqs.eu-central-1.amazonaws.com/1' }, {}],
  [
    'http://localhost:9324/queue',
    { url: 'http://localhost:9324/queue', waitTimeSeconds: 5, visibilityTimeoutSeconds: 60 },
    { sqs: { receiveWaitTimeSeconds: 5, receiveVisibilityTimeout: 60, visibilityHearthBeat: true } },
  ],
  ['gcppubsub://', {}, {}],
  ['gcppubsub://project/name', { projectId: 'project', subscription: 'name' }, {}],
  [
    'gcppubsub://project/name',
    { projectId: 'p', subscription: 's', maxExtensionMs: 60_000, createMissing: true },
    { gcpPubsub: { project: 'p', subscription: 's', maxExtension: 60, createMissing: true } },
  ],
])('broker %s is made with %j', async (broker, options, changes) => {
  const there = packages('SqsBroker', 'PubSubBroker');
  await createBroker(configOf({ broker, ...changes }), there.options);
  expect(there.made).toEqual([options]);
});

const tables = { taskStatesTable: 'task_states', groupMetasTable: 'group_metas' };

it.each([
  ['memcache://a:1,b', { url: 'memcache://a:1,b' }],
  ['mongodb://u:p@h/db', { url: 'mongodb://u:p@h/db' }],
  ['mongodb+srv://h', { url: 'mongodb+srv://h', database: 'd' }, { mongodb: { database: 'd' } }],
  ['dynamodb://', tables],
  ['dynamodb://eu-central-1', { region: 'eu-central-1', ...tables }],
  ['https://dynamodb.eu-west-1.amazonaws.com', { endpoint: 'https://dynamodb.eu-west-1.amazonaws.com', ...tables }],
  ['dynamodb+http://localhost:8000', { endpoint: 'http://localhost:8000', ...tables }],
  [
    'dynamodb://us',
    { region: 'us', taskStatesTable: 't', groupMetasTable: 'g', createTables: true },
    { dynamodb: { taskStatesTable: 't', groupMetasTable: 'g', createTables: true } },
  ],
] as [string, object, Partial<Config>?][])(
  'backend %s is made with %j',
  async (resultBackend, options, changes = {}) => {
    const there = packages('MemcacheBackend', 'MongoBackend', 'DynamoBackend');
    await createBackend(configOf({ resultBackend, ...changes }), there.options);
    expect(there.made).toEqual([options]);
  },
);

describe('what cannot be made', () => {
  const invalid = (text: string) =>
    expect.objectContaining({ code: 'ERR_MACHINERY_INVALID_OPTION', message: expect.stringContaining(text) });

  it.each(['kafka://me:secret@h', '', '://', 'secret@h'])(
    'a scheme that nobody knows, without the password: %s',
    async (broker) => {
      const error = await createBroker(configOf({ broker })).catch((thrown: Error) => thrown);
      expect(error).toEqual(invalid('The URL of `broker` has '));
      expect(error).toEqual(invalid('expected one of amqp, amqps, redis'));
      expect((error as Error).message).not.toContain('secret');
    },
  );

  it('a package that is not there says which to install', async () => {
    const missing = new Error("Cannot find package '@machinery/broker-redis'");
    const from = { import: () => Promise.reject(Object.assign(missing, { code: 'ERR_MODULE_NOT_FOUND' })) };
    await expect(createBroker(configOf({ broker: 'redis://h' }), from)).rejects.toEqual(
      invalid('The package @machinery/broker-redis is not there: npm install @machinery/broker-redis'),
    );
  });

  it('a package of another version', async () => {
    await expect(createBroker(configOf({ broker: 'redis://h' }), packages('Other').options)).rejects.toEqual(
      invalid('@machinery/broker-redis has no RedisBroker'),
    );
  });

  it('a file of TLS that is not there, and options that are wrong', async () => {
    const tls = { caFile: '/none.pem', certFile: '', keyFile: '', serverName: '', insecureSkipVerify: false };
    const there = packages('RedisBroker');
    await expect(createBroker(configOf({ broker: 'redis://h', tls }), there.options)).rejects.toEqual(
      invalid('tls.ca_file cannot be read'),
    );
    await expect(createBroker(configOf(), { imports: 1 } as object)).rejects.toEqual(
      invalid('unknown option `imports`'),
    );
    await expect(createServer(configOf({ logLevel: 'loud' }))).rejects.toEqual(invalid('`logLevel`'));
    await expect(createServer(configOf(), { broker: 1 } as object)).rejects.toEqual(invalid('unknown option `broker`'));
  });
});

describe('createServer', () => {
  it('makes a server that runs tasks', async () => {
    await using server = await createServer(
      configOf({ defaultQueue: 'mine', resultsExpireIn: 0, noUnixSignals: true }),
    );
    expect(server).toMatchObject({ defaultQueue: 'mine', resultsExpireInSeconds: 3_600, handlesSignals: false });
    server.registerTask('double', (n: number) => n * 2);
    await server.newWorker('w').start();
    const result = await server.sendTask({ name: 'double', args: [{ type: 'int64', value: 4 }] });
    expect(await result.get()).toBe(8);
  });

  it('says its settings, without secrets', async () => {
    const said: unknown[] = [];
    const log = (...line: unknown[]) => void said.push(line);
    const RedisBroker = class extends MemoryBroker {
      constructor(_: object) {
        super();
      }
    };
    const redis = { ...configOf().redis, sentinelPassword: 'hush' };
    const broker = 'redis://me:s/e@cret@h:1,h:2/0';
    const logger = { debug: log, info: log, warn: log, error: log };
    await using server = await createServer(configOf({ broker, redis }), {
      import: async () => ({ RedisBroker }),
      logger,
    });
    expect(server.broker).toBeInstanceOf(MemoryBroker);
    expect(said).toEqual([
      [
        'The settings of the server',
        { ...configOf(), broker: 'redis://***@h:1,h:2/0', redis: { ...redis, sentinelPassword: '***' } },
      ],
    ]);
  });

  it('logs from `logLevel` up', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const error = vi.spyOn(console, 'error').mockImplementation(() => {});
    onTestFinished(() => void vi.restoreAllMocks());
    await using server = await createServer(configOf({ logLevel: 'error' }));
    server.logger.warn('a');
    server.logger.error('b');
    expect(warn.mock.calls).toEqual([]);
    expect(error.mock.calls).toEqual([['b']]);
  });

  it('follows a file: at once what can be changed, with a warning what cannot', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'machinery-config-'));
    const path = join(folder, 'c.yml');
    const lines: string[] = [];
    const log = (text: string) => void lines.push(text);
    const logger = { debug: log, info: log, warn: log, error: log };
    const stack = 'broker: memory\nresult_backend: memory\n';
    writeFileSync(path, stack);
    using config = configFromYaml(path, { reload: true, reloadEveryMs: 5, logger });
    await using server = await createServer(config, { logger });
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const change = (text: string) => writeFileSync(path, stack + text);
    change('results_expire_in: 60\nlog_level: error\n');
    await expect.poll(() => server.resultsExpireInSeconds).toBe(60);
    expect(lines.filter((line) => line.includes('started again'))).toEqual([]);
    change('results_expire_in: 60\nlog_level: error\ndefault_queue: other');
    await expect.poll(() => lines.at(-1)).toBe('The new defaultQueue takes effect when the program is started again');
    change('results_expire_in: 60\nlog_level: loud\ndefault_queue: other');
    await expect
      .poll(() => lines.at(-1))
      .toMatch(/settings from before stay: .*:4: expected one of debug, .* for `log_level`, got `loud`/);
    await server.close();
    const before = lines.length;
    change('results_expire_in: 70\ndefault_queue: third');
    await expect.poll(() => config.resultsExpireIn).toBe(70);
    expect(lines.slice(before)).toEqual([expect.stringContaining('has changed: ')]);
    expect(server.resultsExpireInSeconds).toBe(60);
  });
});
