// Options that are wrong are named.

import { SQSClient } from '@aws-sdk/client-sqs';
import { describe, expect, it } from 'vitest';
import { clientsOf } from '../src/clients.ts';
import { SqsBroker } from '../src/index.ts';
import { resolveOptions } from '../src/options.ts';

describe('options of SqsBroker', () => {
  const client = new SQSClient({ region: 'eu-central-1' });
  it.each([
    [
      { url: 'sqs.amazonaws.com' },
      'expected `url` to be a URL with http:// or https://, and no user, got `sqs.amazonaws.com` (string)',
    ],
    [{ queueUrls: { a: 'b' } }, 'expected `queueUrls` to be an object of URLs'],
    [
      { visibilityTimeoutSeconds: 0 },
      'expected `visibilityTimeoutSeconds` to be an integer >= 1 and <= 43200, got `0`',
    ],
    [{ waitTimeSeconds: 21 }, 'expected `waitTimeSeconds` to be an integer >= 1 and <= 20, got `21`'],
    [{ maxMessageBytes: 2_000_000 }, 'expected `maxMessageBytes` to be an integer'],
    [{ client: {} }, 'expected `client` to be an SQSClient'],
    [{ client, region: 'eu-west-1' }, '`region` is that of `client`'],
    [{ receivingClient: client }, '`receivingClient` needs `client`'],
    [{ delayQueue: 'delayed.fifo' }, 'expected `delayQueue` to be a standard queue'],
    [{ queue: 'a' }, 'unknown option `queue`'],
  ])('%o is refused', (options, text) => {
    expect(() => new SqsBroker(options as never)).toThrow(text);
  });

  it('do not show a secret', () => {
    expect(() => new SqsBroker({ credentials: 'hunter2' as never })).toThrow(/credentials/);
    expect(() => new SqsBroker({ credentials: 'hunter2' as never })).not.toThrow(/hunter2/);
    for (const url of ['https://me:hunter2@sqs.amazonaws.com/1', 'redis://:hunter2@redis', 'me:hunter2@sqs'])
      for (const options of [{ url }, { endpoint: url }, { queueUrls: { a: url } }]) {
        expect(() => new SqsBroker(options)).toThrow(/no user, got .*\*\*\*@/);
        expect(() => new SqsBroker(options)).not.toThrow(/hunter2/);
      }
  });

  it.each([
    ['https://sqs.eu-central-1.amazonaws.com/123456789012', 'eu-central-1'],
    ['https://sqs.cn-north-1.amazonaws.com.cn/123456789012', 'cn-north-1'],
    ['https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012', 'us-gov-west-1'],
    ['https://sqs.ap-southeast-2.api.aws/123456789012', 'ap-southeast-2'],
    ['https://vpce-0a1b.sqs.us-east-2.vpce.amazonaws.com/123456789012', 'us-east-2'],
  ])('know the region of %s', async (url, region) => {
    const { sending, close } = clientsOf(resolveOptions({ url }));
    expect(await sending.config.region()).toBe(region);
    close();
  });

  it('may all be absent', () => {
    const { capabilities } = new SqsBroker();
    expect(capabilities).toMatchObject({ maxMessageBytes: 1_048_576, maxDelayMs: 900_000, deliveryCount: true });
  });
});
