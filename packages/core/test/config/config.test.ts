// What Go's files and variables say here.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { type Config, configFromEnvironment, configFromYaml, type YamlFileOptions } from '../../src/config/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'machinery-config-'));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

function file(text: string): string {
  const path = join(folder, `${++files}.yml`);
  writeFileSync(path, text);
  return path;
}

function logs() {
  const lines: string[] = [];
  const log = (text: string) => void lines.push(text);
  return { lines, logger: { debug: log, info: log, warn: log, error: log } };
}

function yaml(text: string, options: YamlFileOptions = {}) {
  const { lines, logger } = logs();
  const path = file(text);
  const config = configFromYaml(path, { logger, ...options });
  onTestFinished(() => config.close());
  return { config, path, lines };
}

const plain = (config: Config): Config => structuredClone({ ...config });

/** What Go has when nothing is said. */
const defaults = {
  broker: 'amqp://guest:guest@localhost:5672/',
  lock: '',
  multipleBrokerSeparator: '',
  defaultQueue: 'machinery_tasks',
  resultBackend: 'amqp://guest:guest@localhost:5672/',
  resultsExpireIn: 3_600,
  noUnixSignals: false,
  logLevel: 'warn',
  amqp: {
    exchange: 'machinery_exchange',
    exchangeType: 'direct',
    queueDeclareArgs: {},
    queueBindingArgs: {},
    bindingKey: 'machinery_task',
    prefetchCount: 3,
    autoDelete: false,
    delayedQueue: '',
  },
  sqs: {
    receiveWaitTimeSeconds: undefined,
    receiveVisibilityTimeout: undefined,
    visibilityHearthBeat: undefined,
  },
  redis: {
    maxIdle: 3,
    maxActive: 0,
    maxIdleTimeout: 240,
    wait: false,
    readTimeout: 15,
    writeTimeout: 15,
    connectTimeout: 15,
    normalTasksPollPeriod: 1_000,
    delayedTasksPollPeriod: 500,
    delayedTasksKey: '',
    clientName: '',
    masterName: '',
    clusterEnabled: false,
    sentinelPassword: '',
  },
  dynamodb: { taskStatesTable: 'task_states', groupMetasTable: 'group_metas', createTables: false },
  gcpPubsub: { project: '', subscription: '', maxExtension: undefined, createMissing: false },
  mongodb: { database: '' },
  tls: { caFile: '', certFile: '', keyFile: '', serverName: '', insecureSkipVerify: false },
};

/** All that Go reads, with other values than its defaults. */
const everything = `---
broker: a://broker
lock: a://lock
multiple_broker_separator: ";"
default_queue: orders
result_backend: a://backend
results_expire_in: 123456
no_unix_signals: yes
amqp:
  exchange: e
  exchange_type: headers
  queue_declare_args:
    x-max-priority: 10
    x-queue-type: quorum
  queue_binding_args: { image-type: png, x-match: any, n: 1 }
  binding_key: k
  prefetch_count: 123
  auto_delete: on
  delayed_queue: d
sqs:
  receive_wait_time_seconds: 20
  receive_visibility_timeout: 456
  visibility_hearth_beat: true
redis:
  max_idle: 12
  max_active: 123
  max_idle_timeout: 456
  wait: true
  read_timeout: 17
  write_timeout: 19
  connect_timeout: 21
  normal_tasks_poll_period: 1001
  delayed_tasks_poll_period: 23
  delayed_tasks_key: later
  client_name: me
  master_name: mymaster
  cluster_enabled: true
  sentinel_password: secret
dynamodb:
  task_states_table: t
  group_metas_table: g
`;

const variables = {
  BROKER: 'a://broker',
  LOCK: 'a://lock',
  MULTIPLE_BROKEN_SEPARATOR: ';',
  DEFAULT_QUEUE: 'orders',
  RESULT_BACKEND: 'a://backend',
  RESULTS_EXPIRE_IN: '123456',
  NO_UNIX_SIGNALS: 'T',
  AMQP_EXCHANGE: 'e',
  AMQP_EXCHANGE_TYPE: 'headers',
  AMQP_QUEUE_DECLARE_ARGS: 'x-max-priority:10,x-queue-type:quorum',
  AMQP_QUEUE_BINDING_ARGS: 'image-type:png,x-match:any,n:1',
  AMQP_BINDING_KEY: 'k',
  AMQP_PREFETCH_COUNT: '123',
  AMQP_AUTO_DELETE: '1',
  AMQP_DELAYED_QUEUE: 'd',
  SQS_WAIT_TIME_SECONDS: '20',
  SQS_VISIBILITY_TIMEOUT: '456',
  SQS_VISIBILITY_HEARTBEAT: 'true',
  REDIS_MAX_IDLE: '12',
  REDIS_MAX_ACTIVE: '123',
  REDIS_IDLE_TIMEOUT: '456',
  REDIS_WAIT: 'TRUE',
  REDIS_READ_TIMEOUT: '17',
  REDIS_WRITE_TIMEOUT: '19',
  REDIS_CONNECT_TIMEOUT: '21',
  REDIS_NORMAL_TASKS_POLL_PERIOD: '1001',
  REDIS_DELAYED_TASKS_POLL_PERIOD: '23',
  REDIS_DELAYED_TASKS_KEY: 'later',
  REDIS_CLIENT_NAME: 'me',
  REDIS_MASTER_NAME: 'mymaster',
  REDIS_CLUSTER_ENABLED: 'true',
  REDIS_SENTINEL_PASSWORD: 'secret',
  TASK_STATES_TABLE: 't',
  GROUP_METAS_TABLE: 'g',
};

const expected = {
  ...defaults,
  broker: 'a://broker',
  lock: 'a://lock',
  multipleBrokerSeparator: ';',
  defaultQueue: 'orders',
  resultBackend: 'a://backend',
  resultsExpireIn: 123_456,
  noUnixSignals: true,
  amqp: {
    exchange: 'e',
    exchangeType: 'headers',
    queueDeclareArgs: { 'x-max-priority': 10, 'x-queue-type': 'quorum' },
    queueBindingArgs: { 'image-type': 'png', 'x-match': 'any', n: 1 },
    bindingKey: 'k',
    prefetchCount: 123,
    autoDelete: true,
    delayedQueue: 'd',
  },
  sqs: { receiveWaitTimeSeconds: 20, receiveVisibilityTimeout: 456, visibilityHearthBeat: true },
  redis: {
    maxIdle: 12,
    maxActive: 123,
    maxIdleTimeout: 456,
    wait: true,
    readTimeout: 17,
    writeTimeout: 19,
    connectTimeout: 21,
    normalTasksPollPeriod: 1_001,
    delayedTasksPollPeriod: 23,
    delayedTasksKey: 'later',
    clientName: 'me',
    masterName: 'mymaster',
    clusterEnabled: true,
    sentinelPassword: 'secret',
  },
  dynamodb: { taskStatesTable: 't', groupMetasTable: 'g', createTables: false },
};

describe('configFromYaml', () => {
  it.each(['', '---\n', '# nothing\n', '{}', 'amqp:\nredis: ~\n', 'broker:\nresults_expire_in: ~'])(
    'has the defaults of Go where nothing stands: %j',
    (text) => {
      const { config, lines } = yaml(text);
      expect(plain(config)).toEqual(defaults);
      expect(lines).toEqual([]);
    },
  );

  it('reads all of a file of Go', () => {
    const { config, lines } = yaml(everything);
    expect(plain(config)).toEqual(expected);
    expect(lines).toEqual([]);
  });

  it('reads beyond the 1,000 bytes that Go reads', () => {
    const { config } = yaml(`${'# long\n'.repeat(10_000)}default_queue: far`);
    expect(config.defaultQueue).toBe('far');
  });

  it('reads what Go does not have in files', () => {
    const { config, lines } = yaml(`
gcp_pubsub: { project: p, subscription: s, max_extension: 60, create_missing: true }
dynamodb: { create_tables: true }
mongodb: { database: d }
tls: { ca_file: ca.pem, cert_file: c.pem, key_file: k.pem, server_name: n, insecure_skip_verify: true }
log_level: debug`);
    expect(config).toMatchObject({
      gcpPubsub: { project: 'p', subscription: 's', maxExtension: 60, createMissing: true },
      dynamodb: { createTables: true },
      mongodb: { database: 'd' },
      tls: { caFile: 'ca.pem', certFile: 'c.pem', keyFile: 'k.pem', serverName: 'n', insecureSkipVerify: true },
      logLevel: 'debug',
    });
    expect(lines).toEqual([]);
  });

  it('takes kinds as Go does: a number is a text, 1.1 has yes and octals, the last of two keys counts, `<<` merges', () => {
    const { config, lines } = yaml(`
default_queue: 0123
results_expire_in: 0x10
base: &base { read_timeout: 5, wait: y }
redis: { <<: *base, read_timeout: 6, client_name: 12:30, master_name: yes }
no_unix_signals: off
broker: one
broker: two
amqp: { queue_binding_args: { n: 1, a: 12:30, b: 010, c: yes, d: [1, x] } }
`);
    expect(config.defaultQueue).toBe('0123');
    expect(config.resultsExpireIn).toBe(16);
    expect(config.redis).toMatchObject({ readTimeout: 6, wait: true, clientName: '12:30', masterName: 'yes' });
    expect(config.noUnixSignals).toBe(false);
    expect(config.broker).toBe('two');
    expect(config.amqp.queueBindingArgs).toEqual({ n: 1, a: '12:30', b: 8, c: true, d: [1, 'x'] });
    expect(lines).toEqual([expect.stringMatching(/\.yml:4: unknown key `base`/)]);
  });

  it.each([
    ['defualt_queue: q', 1, '`defualt_queue`: did you mean `default_queue`?'],
    ['broker: b\nredis:\n  max_idel: 3', 3, '`redis.max_idel`: did you mean `redis.max_idle`?'],
    ['sqs:\n  visibility_heart_beat: true', 2, 'did you mean `sqs.visibility_hearth_beat`?'],
    ['amqp: {}\nmongo:\n  database: d', 2, '`mongo`: did you mean `mongodb`?'],
  ])('warns of a key that nobody knows, with the nearest that is: %j', (text, line, warning) => {
    const { config, path, lines } = yaml(text);
    expect(lines).toEqual([expect.stringContaining(`${path}:${line}: unknown key`)]);
    expect(lines[0]).toContain(warning);
    expect(plain(config)).toEqual({ ...defaults, ...(text.startsWith('broker') && { broker: 'b' }) });
  });

  it.each([
    ['results_expire_in: soon', 1, 'expected an integer >= 0 for `results_expire_in`, got `soon` (string)'],
    ['results_expire_in: "5"', 1, 'expected an integer >= 0'],
    ['results_expire_in: -5', 1, 'expected an integer >= 0'],
    ['results_expire_in: 1.5', 1, 'expected an integer >= 0'],
    ['no_unix_signals: 1', 1, 'expected true or false for `no_unix_signals`, got `1` (number)'],
    ['broker: b\n\nredis:\n  wait: "yes"', 4, 'expected true or false for `redis.wait`'],
    [
      'amqp:\n  exchange_type: x',
      2,
      'expected one of direct, topic, fanout, headers for `amqp.exchange_type`, got `x`',
    ],
    ['redis: fast', 1, 'expected keys and values for `redis`'],
    ['amqp:\n  queue_declare_args: [1]', 2, 'expected keys and values for `amqp.queue_declare_args`'],
    ['default_queue:\n  name: q', 2, 'expected a text for `default_queue`'],
    ['- broker', 1, 'expected keys and values'],
    ['broker: "b', 1, 'quote'],
    ['a: b: c', 1, 'Nested mappings'],
    ['broker: *none', 1, 'nothing has the anchor of `*none`'],
  ])('refuses %j', (text, line, message) => {
    const path = file(text);
    const read = () => configFromYaml(path, { logger: logs().logger });
    expect(read).toThrow(expect.objectContaining({ code: 'ERR_MACHINERY_INVALID_OPTION' }));
    expect(read).toThrow(`${path}:${line}: `);
    expect(read).toThrow(message);
  });

  it('says that a file is not there, or an option wrong', () => {
    expect(() => configFromYaml(join(folder, 'none.yml'))).toThrow(/cannot be read: .*none\.yml/);
    expect(() => configFromYaml('a', { relaod: true } as object)).toThrow('unknown option `relaod`');
    expect(() => configFromYaml(undefined as unknown as string)).toThrow('expected a path');
  });

  it('leaves variables alone, and expands them when asked', () => {
    process.env.MACHINERY_TEST_PASSWORD = 's$cret';
    process.env.MACHINERY_TEST_NUMBER = '7';
    process.env.MACHINERY_TEST_BOOLEAN = 'true';
    const text = `
broker: redis://:\${MACHINERY_TEST_PASSWORD}@h
results_expire_in: "\${MACHINERY_TEST_NUMBER}"
no_unix_signals: \${MACHINERY_TEST_BOOLEAN}
amqp: { queue_declare_args: { x: "\${MACHINERY_TEST_NUMBER}" } }
`;
    expect(yaml(`broker: redis://:\${MACHINERY_TEST_PASSWORD}@h`).config.broker).toBe(
      `redis://:\${MACHINERY_TEST_PASSWORD}@h`,
    );
    const { config } = yaml(text, { expandVariables: true });
    expect(config).toMatchObject({ broker: 'redis://:s$cret@h', resultsExpireIn: 7, noUnixSignals: true });
    expect(config.amqp.queueDeclareArgs).toEqual({ x: '7' });
    expect(() => yaml(`broker: \${MACHINERY_TEST_NONE}`, { expandVariables: true })).toThrow(
      'environment variable MACHINERY_TEST_NONE is not set',
    );
  });
});

describe('configFromEnvironment', () => {
  it('has the defaults of Go where nothing is set', () => {
    expect(configFromEnvironment({})).toEqual(defaults);
  });

  it('reads all variables of Go', () => {
    const queueBindingArgs = { ...expected.amqp.queueBindingArgs, n: '1' }; // texts, as in Go
    expect(configFromEnvironment(variables)).toEqual({ ...expected, amqp: { ...expected.amqp, queueBindingArgs } });
  });

  it('reads the process without being told', () => {
    process.env.DEFAULT_QUEUE = 'mine';
    onTestFinished(() => void delete process.env.DEFAULT_QUEUE);
    expect(configFromEnvironment().defaultQueue).toBe('mine');
  });

  it('takes the separator by its right name, too, and what is there but empty', () => {
    expect(configFromEnvironment({ MULTIPLE_BROKER_SEPARATOR: ',' }).multipleBrokerSeparator).toBe(',');
    expect(configFromEnvironment({ BROKER: '' }).broker).toBe('');
  });

  it.each([
    ['RESULTS_EXPIRE_IN', 'soon', 'expected an integer >= 0, got `soon`'],
    ['RESULTS_EXPIRE_IN', '', 'expected an integer >= 0'],
    ['RESULTS_EXPIRE_IN', '010', 'expected an integer >= 0'], // octal in Go
    ['LOG_LEVEL', 'loud', 'expected one of debug, info, warn, error, silent, got `loud`'],
    ['REDIS_WAIT', 'yes', 'expected true or false, got `yes`'],
    ['AMQP_QUEUE_DECLARE_ARGS', 'a:1,b', 'expected pairs as in `a:1,b:2`, got `b`'],
    ['AMQP_QUEUE_BINDING_ARGS', ':1', 'expected pairs'],
  ])('refuses %s=%s', (name, value, message) => {
    expect(() => configFromEnvironment({ [name]: value })).toThrow(`Environment variable ${name}: ${message}`);
  });
});

describe('a file that is read again', () => {
  const reload = { reload: true, reloadEveryMs: 10 };

  it('says what has changed, and has it', async () => {
    const { config, path, lines } = yaml('results_expire_in: 5\nredis: { read_timeout: 1 }', reload);
    const changes: unknown[] = [];
    const stop = config.onChange((now, changed) => changes.push([now.resultsExpireIn, changed]));
    const change = async (text: string, count: number) => {
      writeFileSync(path, text);
      await expect.poll(() => changes.length).toBe(count);
    };
    await change('results_expire_in: 6\nredis: { read_timeout: 1 }', 1);
    expect(config.resultsExpireIn).toBe(6);
    await change('results_expire_in: 6\nredis: { read_timeout: 2 }\namqp: { queue_declare_args: { a: 1 } }', 2);
    expect(config.redis.readTimeout).toBe(2);
    expect(changes).toEqual([
      [6, ['resultsExpireIn']],
      [6, ['amqp.queueDeclareArgs', 'redis.readTimeout']],
    ]);
    stop();
    writeFileSync(path, 'broker: other');
    await expect.poll(() => config.broker).toBe('other');
    expect(changes).toHaveLength(2);
    expect(lines.at(0)).toMatch(/has changed: resultsExpireIn$/);
  });

  it('stays the last good one while it is bad or gone, which is said once', async () => {
    const { config, path, lines } = yaml('results_expire_in: 5', reload);
    writeFileSync(path, 'results_expire_in: soon');
    await expect.poll(() => lines.length).toBe(1);
    expect(lines[0]).toMatch(/settings from before stay: .*:1: expected an integer/);
    expect(config.resultsExpireIn).toBe(5);
    rmSync(path);
    await expect.poll(() => lines.length).toBe(2);
    expect(lines[1]).toMatch(/settings from before stay: .*ENOENT/);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(lines).toHaveLength(2);
    writeFileSync(path, 'results_expire_in: 7');
    await expect.poll(() => config.resultsExpireIn).toBe(7);
  });

  it('is read no more when it is closed', async () => {
    const { config, path } = yaml('results_expire_in: 5', reload);
    config.close();
    writeFileSync(path, 'results_expire_in: 6');
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(config.resultsExpireIn).toBe(5);
  });
});
