// On each transport and store, the demo prints what it prints in memory, and the program of the package's README what it says.

import {
  dynamoServer,
  memcachedServer,
  mongoServer,
  pubsubServer,
  rabbitServer,
  redisServer,
  sqsServer,
} from '@machinery/services';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { demo, lines } from './demo.ts';
import { compile, printed, run, snippetFolder, snippets } from './snippets.ts';

const [redis, rabbit, sqs, pubsub, memcached, mongo, dynamo] = await Promise.all([
  redisServer(),
  rabbitServer(),
  sqsServer(),
  pubsubServer(),
  memcachedServer(),
  mongoServer(),
  dynamoServer(),
]);
await Promise.all(['machinery_demo', 'machinery_tasks'].map((queue) => sqs.createQueue(queue)));
// What the programs of the READMEs connect to
vi.stubEnv('REDIS_URL', redis?.url);
vi.stubEnv('AMQP_URL', rabbit?.url);
vi.stubEnv('SQS_URL', sqs.url);
vi.stubEnv('PUBSUB_EMULATOR_HOST', pubsub?.host);
vi.stubEnv('MEMCACHED_URL', memcached?.url);
vi.stubEnv('MONGODB_URL', mongo?.url);
vi.stubEnv('AWS_ENDPOINT_URL_DYNAMODB', dynamo.endpoint);
// What the demo may create
vi.stubEnv('GCP_PUBSUB_CREATE_MISSING', 'true');
vi.stubEnv('DYNAMODB_CREATE_TABLES', 'true');
afterAll(() => Promise.all([redis, rabbit, sqs, pubsub, memcached, mongo, dynamo].map((server) => server?.stop())));

const folder = snippetFolder('adapters');
const redisUrl = redis?.url;

/** Undefined where a server is not there. */
const rows: readonly [name: string, broker: string | undefined, backend: string | undefined, ...packages: string[]][] =
  [
    ['RabbitMQ', rabbit?.url, redisUrl, 'broker-amqp'],
    ['RabbitMQ alone', rabbit?.url, rabbit?.url, 'backend-amqp'],
    ['SQS', sqs.url, redisUrl, 'broker-sqs'],
    ['Pub/Sub', pubsub && 'gcppubsub://machinery/demo', redisUrl, 'broker-pubsub'],
    ['Memcached', redisUrl, memcached?.url, 'backend-memcache'],
    ['MongoDB', redisUrl, mongo?.url, 'backend-mongodb'],
    ['DynamoDB', redisUrl, `dynamodb+${dynamo.endpoint}`, 'backend-dynamodb'],
  ];

describe.each(rows)('%s', { timeout: 60_000 }, (_, broker, backend, readme = '') => {
  const isThere = redis !== undefined && broker !== undefined && backend !== undefined;

  it.skipIf(!isThere)('the demo', async () => {
    const { stdout } = await demo('--broker', broker as string, '--backend', backend as string);
    expect(stdout).toBe(`${lines.join('\n')}\n`); // on stderr, AWS's SDK warns of Node 20
  });

  it.skipIf(!isThere)(`the program of ${readme}`, () => {
    const [program = ''] = snippets(`packages/${readme}/README.md`);
    expect(run(compile(folder, readme, program))).toEqual(printed(program).map((line) => expect.stringMatching(line)));
  });
});
