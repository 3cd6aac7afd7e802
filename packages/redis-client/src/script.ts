// Lua that a server runs as one step. Its text is sent once for each server, its hash after that.

import { createHash } from 'node:crypto';
import type { RedisClient } from './connection.ts';

/** A script: Lua with a header that says what its KEYS and ARGV are, what it RETURNS, and why it must be one step. */
export interface Script {
  readonly lua: string;
  readonly keys: number;
  readonly sha: string;
}

/** @param keys how many KEYS it takes. */
export function script(keys: number, lua: string): Script {
  return { lua, keys, sha: createHash('sha1').update(lua).digest('hex') };
}

/** Runs a script. In a Cluster, all keys must be of one slot. */
export async function runScript(
  client: RedisClient,
  { lua, keys, sha }: Script,
  ...keysAndArgs: readonly (string | number)[]
): Promise<unknown> {
  try {
    return await client.evalsha(sha, keys, ...keysAndArgs);
  } catch (error) {
    if (!(error as Error).message.startsWith('NOSCRIPT')) throw error;
    return client.eval(lua, keys, ...keysAndArgs);
  }
}
