// The subpath `@machinery/core/config`: Go Machinery's YAML files and environment variables, and the stack that they name.

export { type CreateOptions, createBackend, createBroker, createLock } from './adapters.ts';
export type {
  AmqpConfig,
  Arguments,
  Config,
  DynamoConfig,
  MongoConfig,
  PubSubConfig,
  RedisConfig,
  SqsConfig,
  TlsConfig,
} from './config.ts';
export { type CreateServerOptions, createServer } from './create-server.ts';
export { configFromEnvironment } from './environment.ts';
export { type ConfigFile, type ConfigListener, configFromYaml, type YamlFileOptions } from './file.ts';
