// The options of the broker: their checks, and what they are where they are absent.

import type { SQSClient, SQSClientConfig } from '@aws-sdk/client-sqs';
import {
  type Check,
  checkOptions,
  integerOption,
  MachineryError,
  objectOption,
  optionalOption,
  stringOption,
} from '@machinery/core';

export interface SqsBrokerOptions {
  /**
   * What the URLs of queues have before their names: `https://sqs.eu-central-1.amazonaws.com/123456789012`. Go: Broker. Absent, and where
   * `queueUrls` has no URL either: SQS is asked for it.
   */
  readonly url?: string;
  /** The URLs of single queues, by their names. */
  readonly queueUrls?: Readonly<Record<string, string>>;
  /** Default: that of `url` on AWS, else what the SDK finds (AWS_REGION, its files). */
  readonly region?: string;
  /** Default: what the SDK finds (the environment, its files, the role of the container or the machine). */
  readonly credentials?: NonNullable<SQSClientConfig['credentials']>;
  /** The address of the service, of an emulator say. Default: that of `url`, else of the region. */
  readonly endpoint?: string;
  /** In place of the three before: a client that sends and settles. It is not closed. Its own retries can store a message twice. */
  readonly client?: SQSClient;
  /** A client that receives. Default: one like `client`, with sockets of its own, since receives wait long. */
  readonly receivingClient?: SQSClient;
  /**
   * How long a message is hidden from others after it was taken, in seconds, unless it is renewed, which happens from a third of it on. What a
   * process that dies had in hand comes again after it. Default: 30.
   */
  readonly visibilityTimeoutSeconds?: number;
  /** How long a receive waits for a message, in whole seconds. Less costs more requests while idle. Default: 20, the most. */
  readonly waitTimeSeconds?: number;
  /** How many receives a consumer has under way at most, each of up to ten messages. Default: 10. */
  readonly maxReceives?: number;
  /** The queue that holds what is due in more than 15 minutes. Default: none, such ETAs are refused. */
  readonly delayQueue?: string;
  /** The queues' `MaximumMessageSize` in bytes, attributes included, where it is less than the service's: 1,048,576. */
  readonly maxMessageBytes?: number;
  /** How long a request may take, in milliseconds, beside what a receive waits. Default: 10,000. */
  readonly requestTimeoutMs?: number;
}

/** Options with all defaults. */
export type ResolvedOptions = SqsBrokerOptions &
  Required<Pick<SqsBrokerOptions, keyof typeof defaults>> & { readonly queueUrls: Readonly<Record<string, string>> };

/** The service's limit for a message, and for all of a request, since August 2025. */
const serviceMessageBytes = 1_048_576;

const defaults = {
  visibilityTimeoutSeconds: 30,
  waitTimeSeconds: 20,
  maxReceives: 10,
  maxMessageBytes: serviceMessageBytes,
  requestTimeoutMs: 10_000,
} as const;

const url: Check = (value) =>
  typeof value === 'string' && /^https?:\/\/[^/\s@]+(\/[^\s@]*)?$/.test(value)
    ? undefined
    : 'a URL with http:// or https://, and no user';
const urls: Check = (value) =>
  objectOption(value) === undefined && Object.values(value as object).every((one) => url(one) === undefined)
    ? undefined
    : 'an object of URLs with http:// or https://, and no user';
const credentials: Check = (value) =>
  typeof value === 'function' || objectOption(value) === undefined ? undefined : 'credentials or a function';
const client: Check = (value) =>
  typeof (value as { send?: unknown } | null)?.send === 'function' ? undefined : 'an SQSClient';

/** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
export function resolveOptions(options: SqsBrokerOptions): ResolvedOptions {
  checkOptions('SqsBroker', masked(options), {
    url: optionalOption(url),
    queueUrls: optionalOption(urls),
    region: optionalOption(stringOption),
    credentials: optionalOption(credentials),
    endpoint: optionalOption(url),
    client: optionalOption(client),
    receivingClient: optionalOption(client),
    visibilityTimeoutSeconds: optionalOption(integerOption({ min: 1, max: 43_200 })),
    waitTimeSeconds: optionalOption(integerOption({ min: 1, max: 20 })),
    maxReceives: optionalOption(integerOption({ min: 1, max: 100 })),
    delayQueue: optionalOption(stringOption),
    maxMessageBytes: optionalOption(integerOption({ min: 1_024, max: serviceMessageBytes })),
    requestTimeoutMs: optionalOption(integerOption({ min: 1, max: 2 ** 31 - 1 })),
  });
  for (const name of ['region', 'credentials', 'endpoint'] as const)
    if (options.client !== undefined && options[name] !== undefined)
      throw invalid(`\`${name}\` is that of \`client\`: give one of the two`);
  if (options.receivingClient !== undefined && options.client === undefined)
    throw invalid('`receivingClient` needs `client`');
  if (options.delayQueue?.endsWith('.fifo'))
    throw invalid('expected `delayQueue` to be a standard queue: FIFO queues delay no single messages');
  return { ...defaults, queueUrls: {}, ...given(options) };
}

/** Errors show wrong options, and secrets must not be shown. */
function masked(options: SqsBrokerOptions): SqsBrokerOptions {
  if (objectOption(options) !== undefined) return options;
  const { credentials, queueUrls } = options;
  const shown: Record<string, unknown> = { ...options };
  if (typeof credentials === 'string') shown.credentials = 'a text';
  for (const name of ['url', 'endpoint'] as const) if (name in options) shown[name] = withoutUser(options[name]);
  if (objectOption(queueUrls) === undefined)
    shown.queueUrls = Object.fromEntries(
      Object.entries(queueUrls as object).map(([name, one]) => [name, withoutUser(one)]),
    );
  return shown;
}

function withoutUser(text: unknown): unknown {
  return typeof text === 'string' ? text.replace(/^([a-z+]+:\/\/)?.*@/is, '$1***@') : text;
}

function given(options: SqsBrokerOptions): SqsBrokerOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function invalid(what: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_OPTION', `SqsBroker: ${what}`);
}
