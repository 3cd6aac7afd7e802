// Connections to a real RabbitMQ: URLs tried in order, vhosts, TLS, names, refusals; and channels of which one fails.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, startRabbit, tcpProxy } from '@machinery/services';
import { type ChannelModel, connect as connectAmqp } from 'amqplib';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { AmqpConnection, type AmqpConnectionOptions, ChannelPool, Publisher } from '../src/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'machinery-amqp-tls-'));
const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
execFileSync(
  'openssl',
  ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-keyout', key, '-out', cert, ...subject],
  { stdio: 'ignore' },
);
execFileSync('chmod', ['644', key]);

const tlsPort = await freePort();
const settings = [
  `listeners.ssl.default = 127.0.0.1:${tlsPort}`,
  `ssl_options.cacertfile = ${cert}`,
  `ssl_options.certfile = ${cert}`,
  `ssl_options.keyfile = ${key}`,
];
const rabbit = await startRabbit({ settings });
const url = rabbit?.url as string;
afterAll(async () => {
  await rabbit?.stop();
  rmSync(folder, { recursive: true, force: true });
});

function connection(options: AmqpConnectionOptions): AmqpConnection {
  const opened = new AmqpConnection('Test', 'broker', options, 'testing');
  onTestFinished(() => opened.close());
  return opened;
}

describe.skipIf(rabbit === undefined)('a connection to RabbitMQ', { timeout: 30_000 }, () => {
  it('tries URLs in their order', async () => {
    const away = `amqp://127.0.0.1:${await freePort()}`;
    const channel = await connection({ url: [away, url] }).channel();
    expect(channel.isOpen).toBe(true);
    await expect(connection({ url: [away, away] }).channel()).rejects.toMatchObject({
      code: 'ERR_MACHINERY_BROKER_UNAVAILABLE',
      message: expect.stringContaining('ECONNREFUSED'),
    });
  });

  it('speaks TLS, and believes whom it is told to', async () => {
    const secure = `amqps://localhost:${tlsPort}`;
    const channel = await connection({ url: secure, tls: { ca: [readFileSync(cert)], host: '127.0.0.1' } }).channel();
    expect(channel.isOpen).toBe(true);
    await expect(connection({ url: secure, tls: { host: '127.0.0.1' } }).channel()).rejects.toThrow('self-signed');
  });

  it('enters a vhost, by URL or by option, and says when it may not', async () => {
    await rabbit?.ctl('add_vhost', 'a/b');
    await rabbit?.ctl('set_permissions', '--vhost', 'a/b', 'guest', '.*', '.*', '.*');
    for (const options of [{ url: `${url}/a%2Fb` }, { url, vhost: 'a/b' }])
      expect((await connection(options).channel()).isOpen).toBe(true);
    const refused = { code: 'ERR_MACHINERY_BROKER_FAILED' };
    await expect(connection({ url: `${url}/none` }).channel()).rejects.toMatchObject(refused);
    await expect(connection({ url: url.replace('//', '//guest:wrong@') }).channel()).rejects.toMatchObject(refused);
  });

  it('may be tried again where a vhost that it was in lets nobody in for now', async () => {
    await rabbit?.ctl('add_vhost', 'limited');
    await rabbit?.ctl('set_permissions', '--vhost', 'limited', 'guest', '.*', '.*', '.*');
    const proxy = await tcpProxy({ to: rabbit?.port as number });
    onTestFinished(() => proxy.close());
    const opened = connection({ url: `amqp://127.0.0.1:${proxy.port}/limited` });
    const channel = await opened.channel();
    await rabbit?.ctl('set_vhost_limits', '--vhost', 'limited', '{"max-connections": 0}');
    const ended = new Promise((resolve) => channel.onEnd(resolve));
    proxy.cut();
    await ended;
    await expect(opened.channel()).rejects.toMatchObject({
      code: 'ERR_MACHINERY_BROKER_UNAVAILABLE',
      message: expect.stringContaining('closed the connection instead of opening the vhost'),
    });
    await rabbit?.ctl('clear_vhost_limits', '--vhost', 'limited');
    expect((await opened.channel()).isOpen).toBe(true);
  });

  it('keeps a heartbeat and a name', async () => {
    const opened = connection({ url, heartbeatSeconds: 7, clientName: 'named' });
    await opened.channel();
    const [line] = ((await rabbit?.ctl('list_connections', 'timeout', 'client_properties')) ?? '')
      .split('\n')
      .filter((text) => text.includes('named'));
    expect(line).toMatch(/^7\t.*named \(testing\)/);
  });

  it('fails one call of a pool, and none of the others', async () => {
    const pool = new ChannelPool(connection({ url }), 3);
    const calls = Array.from({ length: 20 }, (_, i) =>
      pool.run('look', (raw) => (i % 5 === 0 ? raw.checkQueue('there is none') : raw.assertQueue(`pooled-${i % 2}`))),
    );
    const ended = await Promise.allSettled(calls);
    expect(ended.map(({ status }) => status)).toEqual(calls.map((_, i) => (i % 5 === 0 ? 'rejected' : 'fulfilled')));
  });

  it('gives up a server that does not answer', async () => {
    const proxy = await tcpProxy({ to: rabbit?.port as number });
    onTestFinished(() => proxy.close());
    const opened = connection({ url: `amqp://127.0.0.1:${proxy.port}`, commandTimeoutMs: 200 });
    const channel = await opened.channel();
    proxy.stall();
    const asking = channel.call('ask', (raw) => raw.assertQueue('asked'));
    await expect(asking).rejects.toThrow('RabbitMQ could not ask: the server did not answer within 200 ms');
    proxy.resume();
    expect((await opened.channel()).isOpen).toBe(true);
  });

  it.each([
    ['connection.open-ok', 10, 41],
    ['confirm.select-ok', 85, 11],
  ])('is opened again when the server closes it in one breath with its %s', async (_, classId, methodId) => {
    const port = await closingAfter(classId, methodId);
    const opened = connection({ url: `amqp://127.0.0.1:${port}` });
    const publisher = new Publisher(opened, 1_000, () => {});
    await expect(publisher.ready()).rejects.toMatchObject({
      code: 'ERR_MACHINERY_BROKER_UNAVAILABLE',
      message: expect.stringContaining('CONNECTION-FORCED'),
    });
    expect((await publisher.ready()).isOpen).toBe(true);
  });

  it('publishes what no queue takes where its exchange keeps it', async () => {
    const publisher = new Publisher(connection({ url }), 1_000, () => {});
    const sending = {
      exchange: 'amq.direct',
      routingKey: 'none',
      content: Buffer.from(''),
      properties: {},
      what: 'It',
    };
    const outcomes = await publisher.send([() => sending, () => ({ ...sending, isKept: true })]);
    expect(outcomes.map(({ status }) => status)).toEqual(['failed', 'stored']);
  });

  it('ends with all that it has when the server does not answer any more', async () => {
    const proxy = await tcpProxy({ to: rabbit?.port as number });
    onTestFinished(() => proxy.close());
    const models: ChannelModel[] = [];
    const opened = connection({
      connect: async () => {
        const model = await connectAmqp(`amqp://127.0.0.1:${proxy.port}`);
        models.push(model);
        return model;
      },
    });
    await opened.channel();
    const ended = new Promise<void>((resolve) => models[0]?.once('close', () => resolve()));
    proxy.stall();
    await opened.close();
    await ended; // when amqplib has ended its timers
  });

  it('is not opened again after it was closed', async () => {
    const opened = connection({ url });
    await opened.channel();
    await opened.close();
    await expect(opened.channel()).rejects.toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
  });
});

/** A proxy that adds connection.close (320) to the first answer of this kind, and its port. */
async function closingAfter(classId: number, methodId: number): Promise<number> {
  const close = Buffer.from([1, 0, 0, 0, 0, 0, 11, 0, 10, 0, 50, 320 >> 8, 320 & 255, 0, 0, 0, 0, 0, 206]);
  const answer = Buffer.from([0, classId, 0, methodId]);
  let isArmed = true;
  const server = createServer((client) => {
    const upstream = connect(rabbit?.port as number, '127.0.0.1');
    client.pipe(upstream);
    upstream.on('data', (bytes) => {
      const isNow = isArmed && bytes.subarray(7, 11).equals(answer);
      client.write(isNow ? Buffer.concat([bytes, close]) : bytes);
      if (isNow) isArmed = false;
    });
    for (const [one, other] of [[client, upstream] as const, [upstream, client] as const])
      one.on('error', () => {}).on('close', () => other.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

it.each([
  ['http://localhost', 'expected amqp:// or amqps://'],
  ['amqp://user:secret@localhost/a/b', 'got amqp://***@localhost/a/b: a vhost with a slash is written with %2F'],
  ['amqp://localhost?heartbeat=5', 'settings are options, not a query'],
  ['localhost', 'it is no URL'],
])('refuses %s', (wrong, why) => {
  expect(() => new AmqpConnection('Test', 'broker', { url: wrong }, 'testing')).toThrow(why);
});
