// Options that are wrong are named.

import { SQSClient } from '@aws-sdk/client-sqs';
import { describe, expect, it } from 'vitest';
import { SqsBroker } from '../src/index.ts';

describe('options of SqsBroker', () => {
  const client = new SQSClient({ region: 'eu-central-1' });
  it.each([
    [
      { url: 'sqs.amazonaws.com' },
      'expected `url` to be a URL with http:// or https://, got `sqs.amazonaws.com` (string)',
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
  });

  it('may all be absent', () => {
    const { capabilities } = new SqsBroker();
    expect(capabilities).toMatchObject({ maxMessageBytes: 1_048_576, maxDelayMs: 900_000, deliveryCount: true });
  });
});
