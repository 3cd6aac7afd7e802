// Connections to one server: who connects, as whom, and what becomes of commands when the server goes away.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { inspect } from 'node:util';
import { freePort, type StartedRedis, startRedis } from '@machinery/services';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { connectionChecks, connectRedis, redisError } from '../src/index.ts';
import { open, outcome, redis, stopped, until } from './servers.ts';

const server = stopped(await startRedis());
const hasOpenssl = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

describe('options', () => {
  const invalid = (message: RegExp | string) =>
    expect.objectContaining({
      code: 'ERR_MACHINERY_INVALID_OPTION',
      message: typeof message === 'string' ? message : expect.stringMatching(message),
    });

  it('say either a URL or a client', () => {
    const client = new Redis({ lazyConnect: true });
    expect(() => connectRedis('Owner', {})).toThrowError(invalid('Owner: expected either `url` or `client`, got none'));
    expect(() => connectRedis('Owner', { url: 'redis://localhost', client })).toThrowError(
      invalid('Owner: expected either `url` or `client`, got both'),
    );
    client.disconnect();
  });

  it('go together', () => {
    expect(() => connectRedis('Owner', { url: 'redis+socket://secret@/redis.sock', masterName: 'm' })).toThrowError(
      invalid('Owner: a `masterName` needs Sentinels, got redis+socket://***@/redis.sock'),
    );
    expect(() => connectRedis('Owner', { url: 'redis://secret@a,b/1' })).toThrowError(
      invalid('Owner: a Cluster has hosts and no database, got redis://***@a,b/1'),
    );
    expect(() => connectRedis('Owner', { url: 'redis+socket://secret@/redis.sock', cluster: true })).toThrowError(
      invalid(/^Owner: a Cluster has hosts/),
    );
  });

  it('are checked', () => {
    const client = new Redis({ lazyConnect: true });
    expect(connectionChecks.client(client)).toBeUndefined();
    client.disconnect();
    for (const wrong of [null, {}, 'redis://localhost', () => {}])
      expect(connectionChecks.client(wrong)).toBe('a Redis or a Cluster of ioredis');
    for (const wrong of [0, -1, 1.5, '5', 2 ** 31]) {
      expect(connectionChecks.connectTimeoutMs(wrong)).toMatch(/^an integer/);
      expect(connectionChecks.commandTimeoutMs(wrong)).toMatch(/^an integer/);
    }
    expect(connectionChecks.url('')).toBe('a string that is not empty');
    expect(connectionChecks.cluster(1)).toBe('a boolean');
    expect(connectionChecks.tls(true)).toBe('an object');
  });
});

describe.skipIf(server === undefined)('a connection', { timeout: 20_000 }, () => {
  const { port = 0, url = '', socketPath = '' } = server ?? {};

  it('connects with the first command', async () => {
    const { client, isCluster } = open({ url });
    expect([client.status, isCluster]).toEqual(['wait', false]);
    expect(await client.ping()).toBe('PONG');
    expect(client.status).toBe('ready');
  });

  it('reaches the database of its URL, and the name that it is given', async () => {
    const { client } = open({ url: `${url}/5`, clientName: 'a-name' });
    expect(await client.client('INFO')).toMatch(/ name=a-name .* db=5 /);
    await client.set('in five', '1');
    expect(await open({ url }).client.exists('in five')).toBe(0);
    expect(await open({ url: `${url}/5` }).client.exists('in five')).toBe(1);
    expect(await client.call('CLIENT', 'LIST')).toContain(' name=a-name ');
  });

  it('says so when there is no such database', async () => {
    const { client } = open({ url: `${url}/5000` });
    const { code, message } = await outcome(client.set('in 5000', '1'));
    expect({ code, message }).toEqual({
      code: 'ERR_MACHINERY_BACKEND_FAILED',
      message: expect.stringContaining('DB index is out of range'),
    });
    expect(await open({ url }).client.exists('in 5000')).toBe(0);
  });

  it('goes through a Unix socket', async () => {
    const { client } = open({ url: `redis+socket://${socketPath}:/2` });
    expect(await client.client('INFO')).toMatch(/ addr=\S+redis\.sock:0 .* db=2 /);
  });

  it('answers each of many commands of one turn', async () => {
    const { client } = open({ url });
    await client.ping();
    const answers = await Promise.all(Array.from({ length: 1_000 }, () => client.incr('together')));
    expect(answers).toEqual(Array.from({ length: 1_000 }, (_, i) => i + 1));
  });

  describe('to a server with passwords', () => {
    let guarded: StartedRedis;
    beforeAll(async () => {
      const user = ['--user', 'someone', 'on', '>other', '~*', '&*', '+@all'];
      guarded = await redis({ settings: ['--requirepass', 'p@ss/w:rd', ...user] });
    });
    const at = (userinfo: string) => `redis://${userinfo}@127.0.0.1:${guarded.port}`;

    it.each([
      ['p%40ss%2Fw%3Ard', 'default'],
      ['p@ss%2Fw%3Ard', 'default'],
      [':p%40ss%2Fw%3Ard', 'default'],
      [':p@ss/w:rd', 'default'],
      ['default:p@ss/w:rd', 'default'],
      ['someone:other', 'someone'],
    ])('has those of its URL: %s', async (userinfo, user) => {
      expect(await open({ url: at(userinfo) }).client.acl('WHOAMI')).toBe(user);
    });

    it('has that of its URL, through a socket', async () => {
      const { client } = open({ url: `redis+socket://p@ss%2Fw%3Ard@${guarded.socketPath}` });
      expect(await client.acl('WHOAMI')).toBe('default');
    });

    it.each([
      ['secret', /WRONGPASS/],
      ['someone:secret', /WRONGPASS/],
      ['nobody:secret', /WRONGPASS/],
    ])('fails for good with a wrong one: %s', async (userinfo, why) => {
      const { client } = open({ url: at(userinfo) });
      const error = redisError('backend', 'do it', await client.ping().catch((thrown: unknown) => thrown));
      expect(error).toMatchObject({ code: 'ERR_MACHINERY_BACKEND_FAILED', message: expect.stringMatching(why) });
      expect(inspect(error, { depth: 9 })).not.toContain('secret'); // its cause neither
      // Until it tries again nobody knows
      expect((await outcome(client.ping())).code).toMatch(/^ERR_MACHINERY_BACKEND_(FAILED|UNAVAILABLE)$/);
    });

    it('fails for good without one', async () => {
      const { code, message } = await outcome(open({ url: guarded.url }).client.ping());
      expect([code, message]).toEqual(['ERR_MACHINERY_BACKEND_FAILED', expect.stringContaining('NOAUTH')]);
    });
  });

  describe('with a client that is given', () => {
    it('has its settings, and leaves it alone', async () => {
      const given = new Redis({ port, db: 7, connectionName: 'given', lazyConnect: true, maxRetriesPerRequest: null });
      const sent = vi.spyOn(given, 'sendCommand');
      const connection = open({ client: given });
      expect(await connection.client.client('INFO')).toMatch(/ name=given .* db=7 /);
      await connection.close();
      expect([given.status, sent.mock.calls.length]).toEqual(['wait', 0]);
      expect(await given.ping()).toBe('PONG');
      given.disconnect();
    });

    it('has a name of its own when it is given one', async () => {
      const given = new Redis({ port, connectionName: 'given', lazyConnect: true });
      expect(await open({ client: given, clientName: 'own' }).client.client('INFO')).toContain(' name=own ');
      given.disconnect();
    });

    it('does not take what would make it unsafe', async () => {
      const given = new Redis({
        port: await freePort(),
        lazyConnect: true,
        maxRetriesPerRequest: null,
        autoResendUnfulfilledCommands: true,
        enableOfflineQueue: false,
        stringNumbers: true,
        replyMapping: 'resp3',
        reconnectOnError: () => 2,
        retryStrategy: () => null,
        commandTimeout: 1,
      });
      const connection = open({ client: given });
      expect(connection.client.options).toMatchObject({
        maxRetriesPerRequest: 0,
        autoResendUnfulfilledCommands: false,
        enableOfflineQueue: true,
        stringNumbers: false,
        replyMapping: 'legacy',
        reconnectOnError: null,
        commandTimeout: 10_000,
      });
      const { code, tookMs } = await outcome(connection.client.ping());
      expect(code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
      expect(tookMs).toBeLessThan(2_000);
      given.disconnect();
    });
  });

  describe('to nobody', () => {
    it('rejects soon, each time', async () => {
      const { client } = open({ url: `redis://secret@127.0.0.1:${await freePort()}` });
      for (let i = 0; i < 3; i++) {
        const { code, message, tookMs } = await outcome(client.ping());
        expect(code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
        expect(message).not.toContain('secret');
        expect(tookMs).toBeLessThan(2_000);
      }
    });

    it('rejects when the host has no address, and when the socket is no file', async () => {
      for (const nowhere of ['redis://no-such-host.invalid', 'redis+socket:///no/such/redis.sock']) {
        const { code } = await outcome(open({ url: nowhere }).client.ping());
        expect(code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
      }
    });

    it('rejects after `commandTimeoutMs` when somebody listens who says nothing', async () => {
      const silent = createServer(() => {}).listen(0, '127.0.0.1');
      await new Promise((resolve) => silent.once('listening', resolve));
      const { port: silentPort } = silent.address() as { port: number };
      const connection = open({ url: `redis://127.0.0.1:${silentPort}`, commandTimeoutMs: 200 });
      const { code, tookMs } = await outcome(connection.client.ping());
      expect(code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
      expect(tookMs).toBeGreaterThan(190);
      expect(tookMs).toBeLessThan(2_000);
      await connection.close();
      silent.close();
    });

    it('is found when somebody comes', async () => {
      const later = await freePort();
      const { client } = open({ url: `redis://127.0.0.1:${later}` });
      expect(await outcome(client.ping())).toMatchObject({ code: 'ERR_MACHINERY_BACKEND_UNAVAILABLE' });
      await redis({ port: later });
      await until(() => client.ping(), 'PONG');
    });
  });

  describe('to a server that goes away', () => {
    let fickle: StartedRedis;
    beforeAll(async () => {
      fickle = await redis({ settings: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    });

    it('rejects commands that are on their way, sends none of them again, and comes back', async () => {
      const { client } = open({ url: fickle.url });
      await client.set('count', '10');
      await fickle.kill('SIGSTOP');
      const inFlight = Array.from({ length: 20 }, () => outcome(client.incr('count')));
      await turn();
      inFlight.push(...Array.from({ length: 20 }, () => outcome(client.incr('count'))));
      await turn();
      await fickle.kill();
      const afterwards = outcome(client.incr('count'));
      for (const { code, tookMs } of await Promise.all([...inFlight, afterwards])) {
        expect(code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
        expect(tookMs).toBeLessThan(3_000);
      }
      await fickle.start();
      await until(() => client.get('count'), '10');
      expect(await client.incr('count')).toBe(11);
    });

    it('sends none again, whatever of it was done', async () => {
      const { client } = open({ url: fickle.url });
      await client.del('count');
      let rejected = 0;
      const rounds = Array.from({ length: 20 }, async () => {
        for (let sent = 0; sent < 200; sent++)
          if ((await outcome(client.incr('count'))).code !== undefined) {
            rejected += 1;
            return sent;
          }
        return 200;
      });
      await until(async () => Number(await client.get('count')) > 100, true);
      await fickle.kill();
      const answered = (await Promise.all(rounds)).reduce((sum, count) => sum + count, 0);
      await fickle.start();
      const { client: another } = open({ url: fickle.url });
      await until(() => another.ping(), 'PONG');
      const count = Number(await another.get('count'));
      expect(rejected).toBeGreaterThan(0);
      expect(count).toBeGreaterThanOrEqual(answered);
      expect(count).toBeLessThanOrEqual(answered + rejected); // each rejected one was done once at most
    });

    it('rejects after `commandTimeoutMs` while it does not answer, and goes on when it does', async () => {
      const { client } = open({ url: fickle.url, commandTimeoutMs: 300 });
      await client.ping();
      await fickle.kill('SIGSTOP');
      const { code, message, tookMs } = await outcome(client.get('a key'));
      await fickle.kill('SIGCONT');
      expect([code, message]).toEqual(['ERR_MACHINERY_BACKEND_UNAVAILABLE', expect.stringContaining('timed out')]);
      expect(tookMs).toBeGreaterThan(290);
      expect(tookMs).toBeLessThan(2_000);
      await until(() => client.ping(), 'PONG');
      await client.set('a key', 'its value');
      expect(await client.get('a key')).toBe('its value'); // answers belong to their commands
    });

    it('does not go on for ever when it closes while the server does not answer', async () => {
      const connection = open({ url: fickle.url });
      await connection.client.ping();
      await fickle.kill('SIGSTOP');
      const waiting = outcome(connection.client.ping());
      const { tookMs } = await outcome(connection.close());
      expect(tookMs).toBeLessThan(3_000);
      expect((await waiting).code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
      await fickle.kill('SIGCONT');
    });
  });

  describe('close', () => {
    const closed = 'ERR_MACHINERY_BACKEND_UNAVAILABLE';

    it('lets the commands end that are on their way', async () => {
      const connection = open({ url });
      await connection.client.ping();
      const commands = Array.from({ length: 100 }, (_, i) => connection.client.set(`closing ${i}`, '1'));
      await connection.close();
      expect(await Promise.all(commands)).toEqual(Array(100).fill('OK'));
      expect(connection.client.status).toBe('end');
    });

    it('may be called twice, and before anything else', async () => {
      const connection = open({ url });
      await Promise.all([connection.close(), connection.close()]);
      await connection.close();
      expect((await outcome(connection.client.ping())).code).toBe(closed);
    });

    it('ends while it connects', async () => {
      const connection = open({ url });
      const command = outcome(connection.client.ping());
      await connection.close();
      const { answer, code } = await command;
      expect(answer ?? code).toBeOneOf(['PONG', closed]);
    });

    it('ends while the server is away, and does not come back', async () => {
      const away = await freePort();
      const connection = open({ url: `redis://127.0.0.1:${away}` });
      await outcome(connection.client.ping());
      const waiting = outcome(connection.client.ping());
      const { tookMs } = await outcome(connection.close());
      expect(tookMs).toBeLessThan(500);
      expect((await waiting).code).toBe(closed);
      expect((await outcome(connection.client.ping())).code).toBe(closed);
    });
  });

  describe.skipIf(!hasOpenssl)('with TLS', () => {
    const folder = mkdtempSync(join(tmpdir(), 'machinery-tls-'));
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    let tlsPort: number;
    beforeAll(async () => {
      const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
      const files = ['-keyout', key, '-out', cert];
      execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...subject, ...files], {
        stdio: 'ignore',
      });
      tlsPort = await freePort();
      const certificates = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', cert];
      await redis({ settings: ['--tls-port', String(tlsPort), ...certificates, '--tls-auth-clients', 'no'] });
    });
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    it('trusts the certificate that it is given', async () => {
      const { client } = open({ url: `rediss://127.0.0.1:${tlsPort}/1`, tls: { ca: readFileSync(cert) } });
      expect(await client.client('INFO')).toMatch(new RegExp(` laddr=127\\.0\\.0\\.1:${tlsPort} .* db=1 `));
    });

    it('has TLS by its options, too', async () => {
      const { client } = open({ url: `redis://127.0.0.1:${tlsPort}`, tls: { ca: readFileSync(cert) } });
      expect(await client.ping()).toBe('PONG');
    });

    it('does not trust one that nobody vouches for', async () => {
      const { client } = open({ url: `rediss://127.0.0.1:${tlsPort}` });
      expect((await outcome(client.ping())).code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
    });
  });
});
