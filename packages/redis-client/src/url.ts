// The URLs of Redis that Go Machinery takes, and those that everybody else has.

import { MachineryError } from '@machinery/core';

/** Where a Redis is, as a URL says it. */
export interface RedisAddress {
  /** One server, or several: nodes of a Cluster, or Sentinels. Empty for a socket. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  /** The path of a Unix socket. */
  readonly path?: string;
  readonly username?: string;
  readonly password?: string;
  readonly db?: number;
  readonly tls: boolean;
}

const defaultPort = 6379;

/**
 * Reads `redis://` and `rediss://` (TLS) with `[[user:]password@]host[:port][,host[:port]…][/db]`, where a lone user is the
 * password, as in Go, and `redis+socket://[password@]/path/to/file.sock[:/db]`.
 * @throws MachineryError ERR_MACHINERY_INVALID_OPTION, without the password.
 */
export function parseRedisUrl(url: string): RedisAddress {
  const match = /^(rediss?|redis\+socket):\/\/(?:(.*)@)?(.*)$/s.exec(url);
  if (match === null) throw wrong(url, 'expected redis://, rediss:// or redis+socket://');
  const [, scheme, userinfo, rest = ''] = match;
  const credentials = userinfo === undefined ? {} : parseUserinfo(userinfo);
  if (scheme === 'redis+socket') return { hosts: [], ...credentials, ...parseSocket(url, rest), tls: false };
  const [, hosts = '', db = ''] = /^([^/]*)\/?(.*)$/s.exec(rest) as RegExpExecArray;
  return {
    hosts: hosts.split(',').map((host) => parseHost(url, host)),
    ...credentials,
    ...parseDb(url, db),
    tls: scheme === 'rediss',
  };
}

/** The URL with its password hidden, for errors and logs. */
export function withoutPassword(url: string): string {
  return url.replace(/^([a-z+]+:\/\/)?.*@/is, '$1***@');
}

function parseUserinfo(userinfo: string): { username?: string; password?: string } {
  const [, username = '', password] = /^([^:]*)(?::(.*))?$/s.exec(userinfo) as RegExpExecArray;
  if (password === undefined) return username === '' ? {} : { password: decoded(username) };
  return { ...(username !== '' && { username: decoded(username) }), password: decoded(password) };
}

/** Go takes a password as it stands; one that is written as URLs want it is read so. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function parseHost(url: string, text: string): { host: string; port: number } {
  const [, ip6, name = '', port] = /^(?:\[([\da-fA-F:.]+)\]|([^:[\]]*))(?::(\d+))?$/.exec(text) ?? [];
  const host = ip6 ?? name;
  const number = port === undefined ? defaultPort : Number(port);
  if (host === '' || number < 1 || number > 65_535) throw wrong(url, `\`${text}\` is no host[:port]`);
  return { host, port: number };
}

function parseSocket(url: string, text: string): { path: string; db?: number } {
  const [, path = '', db = ''] = /^(\/.*?)(?::\/(\d*))?$/s.exec(text) ?? [];
  if (path === '') throw wrong(url, 'expected the path of a socket');
  return { path, ...parseDb(url, db) };
}

function parseDb(url: string, text: string): { db?: number } {
  if (text === '') return {};
  if (!/^\d{1,9}$/.test(text)) throw wrong(url, `\`${text}\` is no number of a database`);
  return { db: Number(text) };
}

function wrong(url: string, why: string): MachineryError {
  const text = `\`${withoutPassword(url)}\` is no URL of a Redis: ${why}`;
  return new MachineryError('ERR_MACHINERY_INVALID_OPTION', text);
}
