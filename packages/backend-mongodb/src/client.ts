// The driver's client: one of the backend's own, by its URL, or one that was given.

import { MachineryError } from '@machinery/core';
import { MongoClient, type MongoClientOptions } from 'mongodb';
import type { MongoBackendOptions } from './mongo-backend.ts';

/** Does not connect. @throws MachineryError ERR_MACHINERY_INVALID_OPTION, without the password. */
export function connectMongo({
  url,
  client,
  connectTimeoutMs = 5_000,
  commandTimeoutMs = 10_000,
}: MongoBackendOptions): MongoClient {
  if ((url === undefined) === (client === undefined))
    throw invalid(`expected either \`url\` or \`client\`, got ${url === undefined ? 'none' : 'both'}`);
  if (client !== undefined) {
    if (typeof client.db !== 'function' || typeof client.connect !== 'function')
      throw invalid('expected `client` to be a MongoClient of mongodb');
    return client;
  }
  const text = withScheme(url as string);
  const defaults = {
    appName: 'machinery',
    maxPoolSize: 10,
    connectTimeoutMS: connectTimeoutMs,
    serverSelectionTimeoutMS: connectTimeoutMs,
    socketTimeoutMS: commandTimeoutMs,
  } satisfies MongoClientOptions;
  const named = Object.entries(defaults).filter(([name]) => !new RegExp(`[?&]${name}=`, 'i').test(text));
  try {
    return new MongoClient(text, Object.fromEntries(named));
  } catch (error) {
    throw invalid(`\`${withoutPassword(text)}\` is no URL of a MongoDB: ${(error as Error).message}`);
  }
}

/** The name of the database. */
export function databaseOf({ url = '', database }: MongoBackendOptions): string {
  if (database !== undefined) return database;
  const [, path = ''] = /^[^/]*\/\/[^/?]*\/([^?]*)/.exec(withScheme(url)) ?? [];
  return path === '' ? 'machinery' : decodeURIComponent(path);
}

/** Go: what has no scheme is `mongodb://`. */
function withScheme(url: string): string {
  return url.includes('://') ? url : `mongodb://${url}`;
}

/** Nor with the options, among which are passwords of keys and tokens of sessions. */
function withoutPassword(url: string): string {
  return url.replace(/^([a-z+]+:\/\/)?.*@/is, '$1***@').replace(/\?.*/s, '?…');
}

function invalid(message: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_OPTION', `MongoBackend: ${message}`);
}
