// The SDK's clients: one sends and settles, one receives, as a receive keeps its socket for many seconds and a client has 50.

import { SQSClient, type SQSClientConfig } from '@aws-sdk/client-sqs';
import type { ResolvedOptions } from './options.ts';

export interface Clients {
  readonly sending: SQSClient;
  readonly receiving: SQSClient;
  /** Closes those that were opened here. */
  close(): void;
}

type RequestHandler = NonNullable<SQSClientConfig['requestHandler']>;

const connectTimeoutMs = 5_000;

/** Connects nowhere. */
export function clientsOf(options: ResolvedOptions): Clients {
  const { client, receivingClient } = options;
  const opened: SQSClient[] = [];
  const open = (config: SQSClientConfig) => {
    const made = new SQSClient(config);
    opened.push(made);
    return made;
  };
  const config = client === undefined ? configOf(options) : configLike(client);
  const sending = client ?? open({ ...config, requestHandler: handler(options.requestTimeoutMs) });
  const waitMs = options.waitTimeSeconds * 1_000 + options.requestTimeoutMs;
  // How many receive at once is the consumers' to say.
  const receiving =
    receivingClient ?? open({ ...config, requestHandler: handler(waitMs, { maxSockets: Number.POSITIVE_INFINITY }) });
  return {
    sending,
    receiving,
    close: () => {
      for (const made of opened) made.destroy();
    },
  };
}

function configOf({ url, region, credentials, endpoint }: ResolvedOptions): SQSClientConfig {
  const { hostname, origin } = url === undefined ? {} : new URL(url);
  const [, ofUrl] = /(?:^|\.)sqs(?:-fips)?\.([a-z]+(?:-[a-z]+)+-\d+)\./.exec(hostname ?? '') ?? [];
  return {
    // A send whose answer was lost may be stored: whether it is sent again is not the SDK's to say. The rest is core's to try again.
    maxAttempts: 1,
    ...((region ?? ofUrl) !== undefined && { region: (region ?? ofUrl) as string }),
    ...(credentials !== undefined && { credentials }),
    ...((endpoint ?? origin) !== undefined && { endpoint: (endpoint ?? origin) as string }),
  };
}

function configLike({ config }: SQSClient): SQSClientConfig {
  const { region, credentials, endpoint, logger, useDualstackEndpoint, useFipsEndpoint, useQueueUrlAsEndpoint } =
    config;
  return {
    maxAttempts: 1,
    region,
    credentials,
    logger,
    useDualstackEndpoint,
    useFipsEndpoint,
    ...(useQueueUrlAsEndpoint !== undefined && { useQueueUrlAsEndpoint }),
    ...(endpoint !== undefined && { endpoint }),
  };
}

function handler(requestTimeout: number, agent: { maxSockets?: number } = {}): RequestHandler {
  const options = { keepAlive: true, ...agent };
  return {
    connectionTimeout: connectTimeoutMs,
    requestTimeout, // until the answer begins
    socketTimeout: requestTimeout, // should it stop in the middle
    throwOnRequestTimeout: true,
    httpAgent: options,
    httpsAgent: options,
  };
}
