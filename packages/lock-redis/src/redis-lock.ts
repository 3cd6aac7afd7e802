// The lock that schedulers on many machines share, as Go Machinery's locks/redis: a key whose value is its expiry, so that
// whoever finds that passed takes it over. Time is the asking machine's, as in Go.

import { type ContractVersion, checkOptions, contractVersion, type Lock, MachineryError } from '@machinery/core';
import {
  connectionChecks,
  connectRedis,
  type RedisConnection,
  type RedisConnectionOptions,
  redisError,
  runScript,
} from '@machinery/redis-client';
import { acquire } from './acquire.ts';

export type RedisLockOptions = RedisConnectionOptions;

/** A lock on Redis, shared with Go's schedulers. */
export class RedisLock implements Lock {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/lock-redis';
  readonly #connection: RedisConnection;
  #closed = false;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(options: RedisLockOptions) {
    checkOptions('RedisLock', options, connectionChecks);
    this.#connection = connectRedis('RedisLock', options);
  }

  /**
   * Takes the lock, in one step of the server. A time that has passed is refused.
   * @throws MachineryError ERR_MACHINERY_BACKEND_UNAVAILABLE, ERR_MACHINERY_BACKEND_FAILED (no rights, or the key holds what is no
   * lock), ERR_MACHINERY_CLOSED after `close`.
   */
  async acquire(key: string, expiresAtNs: bigint): Promise<boolean> {
    if (this.#closed) throw new MachineryError('ERR_MACHINERY_CLOSED', 'The Redis lock is closed');
    const nowNs = BigInt(Date.now()) * 1_000_000n;
    const spanMs = (expiresAtNs - nowNs) / 1_000_000n + 1n; // rounded up: never early
    if (expiresAtNs <= nowNs) return false;
    let answer: unknown;
    try {
      answer = await runScript(
        this.#connection.client,
        acquire,
        key,
        String(expiresAtNs),
        String(nowNs),
        String(spanMs),
      );
    } catch (error) {
      throw redisError('backend', `take the lock ${key}`, error);
    }
    if (answer === 0 || answer === 1) return answer === 1;
    const text = `The key ${key} holds \`${String(answer)}\`, which is no lock: a lock holds its expiry in Unix nanoseconds`;
    throw new MachineryError('ERR_MACHINERY_BACKEND_FAILED', text);
  }

  /** Ends the connection. Locks that are held stay so until their time. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#connection.close();
  }
}
