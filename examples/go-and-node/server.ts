// What the worker and the sender have in common: the Redis that they share with Go.

import process from 'node:process';
import { RedisBackend } from '@machinery/backend-redis';
import { RedisBroker } from '@machinery/broker-redis';
import { Server } from '@machinery/core';

export function newServer(): Server {
  const url = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379';
  return new Server({ broker: new RedisBroker({ url }), backend: new RedisBackend({ url }) });
}
