// What the adapters on Redis share. It is theirs: what is here may change with any release.

export {
  connectionChecks,
  connectRedis,
  type RedisClient,
  RedisConnection,
  type RedisConnectionOptions,
  type RedisWhere,
} from './connection.ts';
export { redisError } from './errors.ts';
export { runScript, type Script, script } from './script.ts';
export { slotTag } from './slot.ts';
export { type LendsStates, statesOnServer } from './states.ts';
export { parseRedisUrl, type RedisAddress, withoutPassword } from './url.ts';
