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
export { configFromEnvironment } from './environment.ts';
export { type ConfigFile, type ConfigListener, configFromYaml, type YamlFileOptions } from './file.ts';
