// The URL of one or several memcacheds, in the form that Go Machinery takes.

import { MachineryError } from '@machinery/core';

/** Where a memcached is. */
export type MemcachedAddress = { readonly host: string; readonly port: number } | { readonly path: string };

const defaultPort = 11_211;

/**
 * Reads `memcache://host[:port][,host[:port]…]`, where a host that begins with `/` is the path of a Unix socket. The order counts: it
 * places the keys.
 * @throws MachineryError ERR_MACHINERY_INVALID_OPTION, without what may be a password.
 */
export function parseMemcacheUrl(owner: string, url: string): readonly MemcachedAddress[] {
  const [, hosts] = /^memcache:\/\/(.+)$/s.exec(url) ?? [];
  if (hosts === undefined) throw wrong(owner, url, 'expected memcache://host[:port][,host[:port]…]');
  if (hosts.includes('@')) throw wrong(owner, url, 'users and passwords are not supported');
  return hosts.split(',').map((host) => parseHost(owner, url, host));
}

/** As in the URL. */
export function addressText(address: MemcachedAddress): string {
  if ('path' in address) return address.path;
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

function parseHost(owner: string, url: string, text: string): MemcachedAddress {
  if (text.startsWith('/')) return { path: text };
  const [, ip6, name = '', port] = /^(?:\[([\da-fA-F:.]+)\]|([^:[\]/?#\s]*))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = ip6 ?? name;
  const number = port === undefined ? defaultPort : Number(port);
  if (host === '' || number < 1 || number > 65_535) throw wrong(owner, url, `\`${text}\` is no host[:port]`);
  return { host, port: number };
}

function wrong(owner: string, url: string, why: string): MachineryError {
  const shown = url.replace(/^([a-z+]+:\/\/)?.*@/is, '$1***@');
  const text = `${owner}: expected \`url\` to be of a Memcached, got \`${shown}\`: ${why}`;
  return new MachineryError('ERR_MACHINERY_INVALID_OPTION', text);
}
