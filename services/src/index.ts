// Servers for the tests of the adapters: the one that the environment names, or one that is started here and stopped when
// the tests are over. And what breaks: connections through a proxy, programs in processes of their own. And what such tests share.

export { missing } from './available.ts';
export { type DynamoServer, dynamoServer, StartedDynamo, startDynamo } from './dynamodb.ts';
export { buildGo, findGo } from './go.ts';
export { testLargeChord } from './large-chord.ts';
export {
  type MemcachedServer,
  type MemcachedServerOptions,
  memcachedServer,
  StartedMemcached,
  startMemcached,
} from './memcached.ts';
export { type MongoServer, mongoServer, StartedMongo, startFerret, startMongo } from './mongodb.ts';
export { NodeProgram, type NodeProgramOptions } from './node-program.ts';
export { outcome, until } from './outcome.ts';
export { type PubSubServer, pubsubServer, StartedPubSub, startPubSub } from './pubsub.ts';
export {
  type ControlledRabbit,
  controlledRabbit,
  type RabbitServer,
  type RabbitServerOptions,
  rabbitServer,
  StartedRabbit,
  startRabbit,
} from './rabbitmq.ts';
export { freePort, type RedisServer, type RedisServerOptions, redisServer, StartedRedis, startRedis } from './redis.ts';
export { type RedisCluster, startRedisCluster } from './redis-cluster.ts';
export { type RedisSentinel, startRedisSentinel } from './redis-sentinel.ts';
export { newUuid, sampleGroup, sampleTime, sampleWrite } from './samples.ts';
export { type QueueAttributes, type SqsServer, StartedSqs, sqsServer, startSqs } from './sqs.ts';
export { type TcpProxy, type TcpProxyOptions, tcpProxy } from './tcp-proxy.ts';
