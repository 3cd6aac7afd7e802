// What @machinery/backend-redis exports.

export type { RedisClient, RedisConnectionOptions } from '@machinery/redis-client';
export { RedisBackend, type RedisBackendOptions } from './redis-backend.ts';
