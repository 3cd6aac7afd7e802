// URLs: those that Go Machinery takes, those that everybody else has, and those that are none.

import { describe, expect, it } from 'vitest';
import { parseRedisUrl, type RedisAddress, withoutPassword } from '../src/index.ts';

const at = (host: string, port = 6379) => ({ hosts: [{ host, port }], tls: false });

describe('a URL', () => {
  it.each<[string, RedisAddress]>([
    // Go's
    ['redis://localhost', at('localhost')],
    ['redis://localhost:7000', at('localhost', 7000)],
    ['redis://localhost:7000/', at('localhost', 7000)],
    ['redis://localhost/3', { ...at('localhost'), db: 3 }],
    ['redis://localhost:6379/0', { ...at('localhost'), db: 0 }],
    ['redis://secret@localhost:6379/3', { ...at('localhost'), password: 'secret', db: 3 }],
    ['redis://user:secret@localhost', { ...at('localhost'), username: 'user', password: 'secret' }],
    ['redis://:secret@localhost', { ...at('localhost'), password: 'secret' }],
    ['redis://@localhost', at('localhost')],
    [
      'redis://host1:7000,host2:7001',
      {
        hosts: [
          { host: 'host1', port: 7000 },
          { host: 'host2', port: 7001 },
        ],
        tls: false,
      },
    ],
    [
      'redis://secret@host1,host2/1',
      {
        hosts: [
          { host: 'host1', port: 6379 },
          { host: 'host2', port: 6379 },
        ],
        password: 'secret',
        db: 1,
        tls: false,
      },
    ],
    ['rediss://localhost:6380', { ...at('localhost', 6380), tls: true }],
    [
      'rediss://user:secret@localhost/2',
      { ...at('localhost'), username: 'user', password: 'secret', db: 2, tls: true },
    ],
    ['redis+socket:///var/run/redis.sock', { hosts: [], path: '/var/run/redis.sock', tls: false }],
    ['redis+socket:///var/run/redis.sock:/4', { hosts: [], path: '/var/run/redis.sock', db: 4, tls: false }],
    ['redis+socket:///redis.sock:/', { hosts: [], path: '/redis.sock', tls: false }],
    [
      'redis+socket://secret@/var/run/redis.sock:/4',
      { hosts: [], path: '/var/run/redis.sock', password: 'secret', db: 4, tls: false },
    ],
    ['redis+socket:///a:b/redis.sock', { hosts: [], path: '/a:b/redis.sock', tls: false }],
    // Numbers, and what stands in passwords
    ['redis://127.0.0.1:1', at('127.0.0.1', 1)],
    ['redis://127.0.0.1:65535/999999999', { ...at('127.0.0.1', 65_535), db: 999_999_999 }],
    ['redis://[::1]:7000', at('::1', 7000)],
    ['redis://secret@[2001:db8::1]/1', { ...at('2001:db8::1'), password: 'secret', db: 1 }],
    ['redis://p%40ss%2Fw%3Ard@localhost', { ...at('localhost'), password: 'p@ss/w:rd' }],
    ['redis://p@ss@localhost', { ...at('localhost'), password: 'p@ss' }],
    ['redis://user:a:b/c@localhost', { ...at('localhost'), username: 'user', password: 'a:b/c' }],
    ['redis://100%@localhost', { ...at('localhost'), password: '100%' }],
    ['redis://user:@localhost', { ...at('localhost'), username: 'user', password: '' }],
  ])('%s is read', (url, address) => {
    expect(parseRedisUrl(url)).toEqual(address);
  });

  it.each([
    ['', 'expected redis://, rediss:// or redis+socket://'],
    ['localhost:6379', 'expected redis://, rediss:// or redis+socket://'],
    ['amqp://secret@localhost', 'expected redis://, rediss:// or redis+socket://'],
    ['redis:secret@localhost', 'expected redis://, rediss:// or redis+socket://'],
    ['REDIS://secret@localhost', 'expected redis://, rediss:// or redis+socket://'],
    ['redis://', '`` is no host[:port]'],
    ['redis://secret@', '`` is no host[:port]'],
    ['redis://:6379', '`:6379` is no host[:port]'],
    ['redis://secret@localhost:0', '`localhost:0` is no host[:port]'],
    ['redis://secret@localhost:65536', '`localhost:65536` is no host[:port]'],
    ['redis://secret@localhost:six', '`localhost:six` is no host[:port]'],
    ['redis://secret@localhost:', '`localhost:` is no host[:port]'],
    ['redis://secret@::1', '`::1` is no host[:port]'],
    ['redis://host1,,host2', '`` is no host[:port]'],
    ['redis://secret@localhost/one', '`one` is no number of a database'],
    ['redis://secret@localhost/-1', '`-1` is no number of a database'],
    ['redis://secret@localhost/1/2', '`1/2` is no number of a database'],
    ['redis://secret@localhost/1234567890', '`1234567890` is no number of a database'],
    ['redis+socket://', 'expected the path of a socket'],
    ['redis+socket://secret@', 'expected the path of a socket'],
    ['redis+socket://secret@localhost:6379', 'expected the path of a socket'],
  ])('%s is refused', (url, why) => {
    let error: unknown;
    try {
      parseRedisUrl(url);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({
      code: 'ERR_MACHINERY_INVALID_OPTION',
      message: `\`${withoutPassword(url)}\` is no URL of a Redis: ${why}`,
    });
    expect(String(error)).not.toContain('secret');
  });
});

describe('the password', () => {
  it.each([
    ['redis://secret@localhost/x', 'redis://***@localhost/x'],
    ['redis://user:secret@localhost:x', 'redis://***@localhost:x'],
    ['redis://:secret@a,b:x', 'redis://***@a,b:x'],
    ['redis://user:secret@secret@localhost/x', 'redis://***@localhost/x'],
    ['redis://user:sec/secret?#@localhost/x', 'redis://***@localhost/x'],
    ['redis://user:\nsecret@localhost/x', 'redis://***@localhost/x'],
    ['redis+socket://secret@', 'redis+socket://***@'],
    ['http://user:secret@localhost', 'http://***@localhost'],
    ['redis:/user:secret@localhost', '***@localhost'],
    ['user:secret@localhost', '***@localhost'],
    ['redis://localhost', 'redis://localhost'],
  ])('of %j is in no error', (url, shown) => {
    expect(withoutPassword(url)).toBe(shown);
  });
});
