// URLs of RabbitMQ, as Go's client and amqplib read them: amqp[s]://[user[:password]@]host[:port][/vhost].

import { MachineryError } from '@machinery/core';
import type { Options } from 'amqplib';

/** What `connect` of amqplib takes. Without a vhost it is `/`, as in Go. */
export type AmqpAddress = Options.Connect & {
  readonly protocol: 'amqp' | 'amqps';
  readonly hostname: string;
  readonly port: number;
  readonly vhost: string;
};

const ports = { amqp: 5672, amqps: 5671 };

/**
 * Reads a URL. A vhost is percent-encoded: `/` is `%2F`.
 * @throws MachineryError ERR_MACHINERY_INVALID_OPTION, without the password.
 */
export function parseAmqpUrl(owner: string, url: string): AmqpAddress {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw wrong(owner, url, 'it is no URL');
  }
  const protocol = parsed.protocol.slice(0, -1);
  if (protocol !== 'amqp' && protocol !== 'amqps') throw wrong(owner, url, 'expected amqp:// or amqps://');
  const { hostname, port, username, password, pathname, search } = parsed;
  if (hostname === '') throw wrong(owner, url, 'it names no host');
  const path = pathname.replace(/^\//, '');
  if (path.includes('/')) throw wrong(owner, url, 'a vhost with a slash is written with %2F');
  if (search !== '') throw wrong(owner, url, 'settings are options, not a query');
  const hasUser = username !== '' || password !== '';
  return {
    protocol,
    hostname: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? ports[protocol] : Number(port),
    ...(hasUser && { username: decoded(username), password: decoded(password) }),
    vhost: path === '' ? '/' : decoded(path),
  };
}

/** The URL with its password hidden, for errors and logs. */
function withoutPassword(url: string): string {
  return url.replace(/^([a-z+]+:\/\/)?.*@/is, '$1***@');
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function wrong(owner: string, url: string, why: string): MachineryError {
  const text = `${owner}: expected \`url\` to be amqp[s]://[user:password@]host[:port][/vhost], got ${withoutPassword(url)}: ${why}`;
  return new MachineryError('ERR_MACHINERY_INVALID_OPTION', text);
}
