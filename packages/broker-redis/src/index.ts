// What @machinery/broker-redis exports.

export type { RedisClient, RedisConnectionOptions } from '@machinery/redis-client';
export { RedisBroker, type RedisBrokerOptions } from './redis-broker.ts';
