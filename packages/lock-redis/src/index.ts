// What @machinery/lock-redis exports.

export type { RedisClient, RedisConnectionOptions } from '@machinery/redis-client';
export { RedisLock, type RedisLockOptions } from './redis-lock.ts';
