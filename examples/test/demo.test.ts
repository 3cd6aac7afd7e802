// The demo prints its results in memory and on Redis (elsewhere: adapters.test.ts), and says what is wrong with its flags.

import { freePort, redisServer } from '@machinery/services';
import { afterAll, expect, it } from 'vitest';
import { demo, lines } from './demo.ts';
import { documentedOutput } from './documented.ts';

const redis = await redisServer();
afterAll(() => redis?.stop());

it('prints the results on the in-memory engine', { timeout: 30_000 }, async () => {
  const { stdout } = await demo();
  expect(stdout.trimEnd().split('\n')).toEqual(lines);
  expect(stdout).toMatch(documentedOutput('demo'));
});

it.skipIf(redis === undefined)('prints the same on Redis', { timeout: 30_000 }, async () => {
  const url = redis?.url as string;
  expect(await demo('--broker', url, '--backend', url)).toEqual({ stdout: `${lines.join('\n')}\n`, stderr: '' });
});

it.each([
  ['--brocker=redis://127.0.0.1', "Unknown option '--brocker'"],
  ['--broker=nats://user:secret@localhost', 'The URL of `broker` has the scheme nats, expected one of amqp, '],
  ['--backend=localhost:6379', 'The URL of `resultBackend` has no scheme, expected one of amqp, '],
  ['--backend=redis://:secret@localhost:x', '`redis://***@localhost:x` is no URL of a Redis'],
])('refuses %s', async (flag, stderr) => {
  await expect(demo(flag)).rejects.toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining(stderr) });
});

it.each(['broker', 'backend'])('ends when the %s is away', async (role) => {
  const away = `redis://127.0.0.1:${await freePort()}`;
  const stderr = expect.stringMatching(/^Redis could not .*: connect ECONNREFUSED .*\n$/);
  await expect(demo(`--${role}=${away}`)).rejects.toMatchObject({ code: 1, stderr });
});
