// The demo prints the same on every engine, and says what is wrong with its flags.

import { execFile } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort, pubsubServer, rabbitServer, redisServer } from '@machinery/services';
import { afterAll, expect, it, vi } from 'vitest';

const [redis, rabbit, pubsub] = [await redisServer(), await rabbitServer(), await pubsubServer()];
vi.stubEnv('PUBSUB_EMULATOR_HOST', pubsub?.host);
afterAll(() => Promise.all([redis?.stop(), rabbit?.stop(), pubsub?.stop()]));
import { freePort, memcachedServer, rabbitServer, redisServer } from '@machinery/services';
import { afterAll, expect, it } from 'vitest';

const [redis, rabbit, memcached] = [await redisServer(), await rabbitServer(), await memcachedServer()];
afterAll(() => Promise.all([redis?.stop(), rabbit?.stop(), memcached?.stop()]));
import { freePort, rabbitServer, redisServer, sqsServer } from '@machinery/services';
import { afterAll, expect, it } from 'vitest';

const [redis, rabbit, sqs] = [await redisServer(), await rabbitServer(), await sqsServer()];
afterAll(() => Promise.all([redis?.stop(), rabbit?.stop(), sqs.stop()]));
import { dynamoServer, freePort, rabbitServer, redisServer } from '@machinery/services';
import { afterAll, expect, it } from 'vitest';

const [redis, rabbit, dynamo] = [await redisServer(), await rabbitServer(), await dynamoServer()];
afterAll(() => Promise.all([redis?.stop(), rabbit?.stop(), dynamo.stop()]));

const program = fileURLToPath(new URL('../dist/demo.js', import.meta.url));
const lines = [
  'Single tasks:',
  '1 + 1 = 2',
  '2 + 2 = 4',
  '5 + 6 = 11',
  '3 * 7 = 21',
  'A task with an ETA:',
  '1 + 1 = 2, not before its time: true',
  'Slices:',
  'sum_ints([1, 2]) = 3',
  'sum_floats([1.5, 2.7]) = 4.2',
  'concat(["foo", "bar"]) = foobar',
  'split("foo") = ["f","o","o"]',
  'Group of tasks (parallel execution):',
  '1 + 1 = 2',
  '2 + 2 = 4',
  '5 + 6 = 11',
  'Group of tasks with a callback (chord):',
  '(1 + 1) * (2 + 2) * (5 + 6) = 88',
  '4 of 4 tasks are done',
  'Chain of tasks:',
  '(((1 + 1) + (2 + 2)) + (5 + 6)) * 4 = 68',
  '((5 + 6) + 1) * 4 = 48',
  '(((1 + 1) + 2) + ((1 + 1) * 10)) * 2 = 48',
  '(5 + 6) * 4 = 44, whatever 1 + 1 is',
  'A chord of which a member throws:',
  'panic_task failed: oops',
  'A task that throws:',
  'panic_task failed: oops',
  'A task that takes a while:',
  'long_running_task returned undefined',
];

/** Runs it as `npm run demo -- <flags>` does. */
function demo(...flags: string[]) {
  return promisify(execFile)(process.execPath, [program, ...flags]);
}

it('prints the results on the in-memory engine', { timeout: 30_000 }, async () => {
  expect((await demo()).stdout.trimEnd().split('\n')).toEqual(lines);
});

it.skipIf(redis === undefined)('prints the same on Redis', { timeout: 30_000 }, async () => {
  const url = redis?.url as string;
  expect(await demo('--broker', url, '--backend', url)).toEqual({ stdout: `${lines.join('\n')}\n`, stderr: '' });
});

it.skipIf(redis === undefined || rabbit === undefined)('prints the same on RabbitMQ', { timeout: 30_000 }, async () => {
  const flags = ['--broker', rabbit?.url as string, '--backend', redis?.url as string];
  expect(await demo(...flags)).toEqual({ stdout: `${lines.join('\n')}\n`, stderr: '' });
});

it.skipIf(redis === undefined || pubsub === undefined)('prints the same on Pub/Sub', { timeout: 30_000 }, async () => {
  const flags = ['--broker', 'pubsub://machinery/demo', '--backend', redis?.url as string];
  expect(await demo(...flags)).toEqual({ stdout: `${lines.join('\n')}\n`, stderr: '' });
});
it.skipIf(redis === undefined || memcached === undefined)(
  'prints the same with states in Memcached',
  {
    timeout: 30_000,
  },
  async () => {
    const flags = ['--broker', redis?.url as string, '--backend', memcached?.url as string];
    expect(await demo(...flags)).toEqual({ stdout: `${lines.join('\n')}\n`, stderr: '' });
  },
);
it.skipIf(redis === undefined)('prints the same on SQS', { timeout: 30_000 }, async () => {
  await sqs.createQueue('machinery_demo');
  const flags = ['--broker', sqs.url, '--backend', redis?.url as string];
  expect(await demo(...flags)).toEqual({ stdout: `${lines.join('\n')}\n`, stderr: '' });
it.skipIf(redis === undefined)('prints the same with results in DynamoDB', { timeout: 30_000 }, async () => {
  const flags = ['--broker', redis?.url as string, '--backend', `dynamodb+${dynamo.endpoint}`];
  expect((await demo(...flags)).stdout).toBe(`${lines.join('\n')}\n`); // the SDK warns of Node 20
});

it.each([
  ['--brocker=redis://127.0.0.1', "Unknown option '--brocker'"],
  ['--broker=nats://user:secret@localhost', 'The URL of the broker has nats://, expected one of memory://, redis://'],
  ['--backend=localhost:6379', 'The URL of the backend has no scheme, expected one of memory://, redis://'],
  ['--backend=redis://:secret@localhost:x', '`redis://***@localhost:x` is no URL of a Redis'],
])('refuses %s', async (flag, stderr) => {
  await expect(demo(flag)).rejects.toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining(stderr) });
});

it.each(['broker', 'backend'])('ends when the %s is away', async (role) => {
  const away = `redis://127.0.0.1:${await freePort()}`;
  const stderr = expect.stringMatching(/^Redis could not .*: connect ECONNREFUSED .*\n$/);
  await expect(demo(`--${role}=${away}`)).rejects.toMatchObject({ code: 1, stderr });
});
