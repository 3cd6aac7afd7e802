// What Go Machinery's YAML files and environment variables say, under Go's names in camel case, with Go's defaults. One table
// says the names, kinds and defaults; `environment.ts` and `yaml.ts` read by it.

/** Settings of the whole stack. What Go's files do not have is said so. */
export interface Config {
  /** URL of the broker; with a `multipleBrokerSeparator`, several. */
  readonly broker: string;
  /** URL of the lock of periodic tasks. Empty: none, or what is locked in this process only. */
  readonly lock: string;
  /** Separates the URLs of AMQP brokers that are tried in turn. Empty: `broker` is one URL. */
  readonly multipleBrokerSeparator: string;
  readonly defaultQueue: string;
  /** URL of the result backend. */
  readonly resultBackend: string;
  /** How long states are kept, in seconds. 0: an hour. */
  readonly resultsExpireIn: number;
  /** Workers do not stop on SIGINT and SIGTERM. */
  readonly noUnixSignals: boolean;
  /** What is logged, from this level up: `debug`, `info`, `warn`, `error` or `silent`. Not in Go's files. */
  readonly logLevel: string;
  readonly amqp: AmqpConfig;
  readonly sqs: SqsConfig;
  readonly redis: RedisConfig;
  readonly dynamodb: DynamoConfig;
  /** Not in Go's files, where code says it. */
  readonly gcpPubsub: PubSubConfig;
  /** Not in Go's files, where code says it. */
  readonly mongodb: MongoConfig;
  /** Not in Go's files, where code says it. */
  readonly tls: TlsConfig;
}

/** A table of AMQP arguments. */
export type Arguments = Readonly<Record<string, unknown>>;

export interface AmqpConfig {
  readonly exchange: string;
  /** `direct`, `topic`, `fanout` or `headers`. */
  readonly exchangeType: string;
  readonly queueDeclareArgs: Arguments;
  readonly queueBindingArgs: Arguments;
  readonly bindingKey: string;
  /** 0: what the concurrency needs. */
  readonly prefetchCount: number;
  readonly autoDelete: boolean;
  /** Go's one queue for all delayed messages. Empty: none. */
  readonly delayedQueue: string;
}

export interface SqsConfig {
  /** Of a long poll, in seconds. */
  readonly receiveWaitTimeSeconds: number | undefined;
  /** In seconds. */
  readonly receiveVisibilityTimeout: number | undefined;
  /** The visibility of what runs is extended. (Go spells it so.) */
  readonly visibilityHearthBeat: boolean | undefined;
}

/** What sizes Go's pool of connections is read and not used: there is one connection for commands. */
export interface RedisConfig {
  readonly maxIdle: number;
  readonly maxActive: number;
  /** In seconds. */
  readonly maxIdleTimeout: number;
  readonly wait: boolean;
  /** How long an answer may take, in seconds. */
  readonly readTimeout: number;
  /** In seconds: the longer of the two counts. */
  readonly writeTimeout: number;
  /** In seconds. */
  readonly connectTimeout: number;
  /** In milliseconds. Not used: workers wait in Redis for the next message. */
  readonly normalTasksPollPeriod: number;
  /** In milliseconds, for servers that do not tell of new delayed messages. */
  readonly delayedTasksPollPeriod: number;
  /** Empty: `delayed_tasks`. */
  readonly delayedTasksKey: string;
  readonly clientName: string;
  /** Not empty: the hosts are Sentinels. */
  readonly masterName: string;
  readonly clusterEnabled: boolean;
  readonly sentinelPassword: string;
}

export interface DynamoConfig {
  readonly taskStatesTable: string;
  readonly groupMetasTable: string;
  /** Creates tables that are not there: for development. Not in Go's files. */
  readonly createTables: boolean;
}

export interface PubSubConfig {
  /** Empty: that of the URL. */
  readonly project: string;
  /** Empty: that of the URL. */
  readonly subscription: string;
  /** How long a message may be held, in seconds. */
  readonly maxExtension: number | undefined;
  /** Creates topics and subscriptions that are not there: for development. */
  readonly createMissing: boolean;
}

export interface MongoConfig {
  /** Empty: that of the URL, or `machinery`. */
  readonly database: string;
}

/** Files of TLS, in PEM. */
export interface TlsConfig {
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  /** Whom the certificate must name. Empty: the host of the URL. */
  readonly serverName: string;
  /** Accepts any certificate. */
  readonly insecureSkipVerify: boolean;
}

type Kind = 'string' | 'integer' | 'boolean' | 'arguments';

/** Where one setting stands, and what it is when it stands nowhere. */
export interface Setting {
  readonly kind: Kind;
  /** Its key in YAML, in its section. */
  readonly key: string;
  /** Environment variables, the first that is set counts. */
  readonly variables: readonly string[];
  readonly initial: unknown;
  /** Texts that it may be. Absent: any. */
  readonly values?: readonly string[];
}

/** The settings of a part of the file, and its sections. */
export interface Section {
  readonly key: string;
  readonly settings: Readonly<Record<string, Setting>>;
  readonly sections: Readonly<Record<string, Section>>;
}

type SectionName = 'amqp' | 'sqs' | 'redis' | 'dynamodb' | 'gcpPubsub' | 'mongodb' | 'tls';

const of =
  (kind: Kind) =>
  (key: string, initial: unknown, ...variables: readonly string[]): Setting => ({ kind, key, initial, variables });
const text = of('string');
const integer = of('integer');
const boolean = of('boolean');
const args = of('arguments');
const oneOf = (values: readonly string[], ...setting: Parameters<typeof text>): Setting => ({
  ...text(...setting),
  values,
});

const section = <S>(key: string, settings: Readonly<Record<keyof S, Setting>>): Section => ({
  key,
  settings,
  sections: {},
});

const localRabbit = 'amqp://guest:guest@localhost:5672/';

const sections: Readonly<Record<SectionName, Section>> = {
  amqp: section<AmqpConfig>('amqp', {
    exchange: text('exchange', 'machinery_exchange', 'AMQP_EXCHANGE'),
    exchangeType: oneOf(['direct', 'topic', 'fanout', 'headers'], 'exchange_type', 'direct', 'AMQP_EXCHANGE_TYPE'),
    queueDeclareArgs: args('queue_declare_args', {}, 'AMQP_QUEUE_DECLARE_ARGS'),
    queueBindingArgs: args('queue_binding_args', {}, 'AMQP_QUEUE_BINDING_ARGS'),
    bindingKey: text('binding_key', 'machinery_task', 'AMQP_BINDING_KEY'),
    prefetchCount: integer('prefetch_count', 3, 'AMQP_PREFETCH_COUNT'),
    autoDelete: boolean('auto_delete', false, 'AMQP_AUTO_DELETE'),
    delayedQueue: text('delayed_queue', '', 'AMQP_DELAYED_QUEUE'),
  }),
  sqs: section<SqsConfig>('sqs', {
    receiveWaitTimeSeconds: integer('receive_wait_time_seconds', undefined, 'SQS_WAIT_TIME_SECONDS'),
    receiveVisibilityTimeout: integer('receive_visibility_timeout', undefined, 'SQS_VISIBILITY_TIMEOUT'),
    visibilityHearthBeat: boolean('visibility_hearth_beat', undefined, 'SQS_VISIBILITY_HEARTBEAT'),
  }),
  redis: section<RedisConfig>('redis', {
    maxIdle: integer('max_idle', 3, 'REDIS_MAX_IDLE'),
    maxActive: integer('max_active', 0, 'REDIS_MAX_ACTIVE'),
    maxIdleTimeout: integer('max_idle_timeout', 240, 'REDIS_IDLE_TIMEOUT'),
    wait: boolean('wait', false, 'REDIS_WAIT'),
    readTimeout: integer('read_timeout', 15, 'REDIS_READ_TIMEOUT'),
    writeTimeout: integer('write_timeout', 15, 'REDIS_WRITE_TIMEOUT'),
    connectTimeout: integer('connect_timeout', 15, 'REDIS_CONNECT_TIMEOUT'),
    normalTasksPollPeriod: integer('normal_tasks_poll_period', 1_000, 'REDIS_NORMAL_TASKS_POLL_PERIOD'),
    delayedTasksPollPeriod: integer('delayed_tasks_poll_period', 500, 'REDIS_DELAYED_TASKS_POLL_PERIOD'),
    delayedTasksKey: text('delayed_tasks_key', '', 'REDIS_DELAYED_TASKS_KEY'),
    clientName: text('client_name', '', 'REDIS_CLIENT_NAME'),
    masterName: text('master_name', '', 'REDIS_MASTER_NAME'),
    clusterEnabled: boolean('cluster_enabled', false, 'REDIS_CLUSTER_ENABLED'),
    sentinelPassword: text('sentinel_password', '', 'REDIS_SENTINEL_PASSWORD'),
  }),
  dynamodb: section<DynamoConfig>('dynamodb', {
    taskStatesTable: text('task_states_table', 'task_states', 'TASK_STATES_TABLE'),
    groupMetasTable: text('group_metas_table', 'group_metas', 'GROUP_METAS_TABLE'),
    createTables: boolean('create_tables', false, 'DYNAMODB_CREATE_TABLES'),
  }),
  gcpPubsub: section<PubSubConfig>('gcp_pubsub', {
    project: text('project', '', 'GCP_PUBSUB_PROJECT'),
    subscription: text('subscription', '', 'GCP_PUBSUB_SUBSCRIPTION'),
    maxExtension: integer('max_extension', undefined, 'GCP_PUBSUB_MAX_EXTENSION'),
    createMissing: boolean('create_missing', false, 'GCP_PUBSUB_CREATE_MISSING'),
  }),
  mongodb: section<MongoConfig>('mongodb', { database: text('database', '', 'MONGODB_DATABASE') }),
  tls: section<TlsConfig>('tls', {
    caFile: text('ca_file', '', 'TLS_CA_FILE'),
    certFile: text('cert_file', '', 'TLS_CERT_FILE'),
    keyFile: text('key_file', '', 'TLS_KEY_FILE'),
    serverName: text('server_name', '', 'TLS_SERVER_NAME'),
    insecureSkipVerify: boolean('insecure_skip_verify', false, 'TLS_INSECURE_SKIP_VERIFY'),
  }),
};

/** Go reads the separator from a variable with a slip of the pen in its name; the right one serves, too. */
const separatorVariables = ['MULTIPLE_BROKEN_SEPARATOR', 'MULTIPLE_BROKER_SEPARATOR'] as const;

const settings: Readonly<Record<Exclude<keyof Config, SectionName>, Setting>> = {
  broker: text('broker', localRabbit, 'BROKER'),
  lock: text('lock', '', 'LOCK'),
  multipleBrokerSeparator: text('multiple_broker_separator', '', ...separatorVariables),
  defaultQueue: text('default_queue', 'machinery_tasks', 'DEFAULT_QUEUE'),
  resultBackend: text('result_backend', localRabbit, 'RESULT_BACKEND'),
  resultsExpireIn: integer('results_expire_in', 3_600, 'RESULTS_EXPIRE_IN'),
  noUnixSignals: boolean('no_unix_signals', false, 'NO_UNIX_SIGNALS'),
  logLevel: oneOf(['debug', 'info', 'warn', 'error', 'silent'], 'log_level', 'warn', 'LOG_LEVEL'),
};

/** The whole file. */
export const schema: Section = { key: '', settings, sections };

/** Answers a setting's value; undefined where it does not stand. */
export type Lookup = (setting: Setting, path: readonly Section[]) => unknown;

/** The config that a source says, with defaults for what it does not say. */
export function configOf(lookup: Lookup): Config {
  return sectionOf(schema, [], lookup) as unknown as Config;
}

function sectionOf(part: Section, path: readonly Section[], lookup: Lookup): Record<string, unknown> {
  const values: [string, unknown][] = [];
  for (const [name, setting] of Object.entries(part.settings))
    values.push([name, lookup(setting, path) ?? setting.initial]);
  for (const [name, inner] of Object.entries(part.sections))
    values.push([name, sectionOf(inner, [...path, inner], lookup)]);
  return Object.freeze(Object.fromEntries(values));
}
