// The options of the broker, and their checks.

import {
  booleanOption,
  checkOptions,
  functionOption,
  integerOption,
  MachineryError,
  objectOption,
  optionalOption,
  stringOption,
} from '@machinery/core';

/** What is used of a `PubSub`, of either major version. */
export interface PubSubClient {
  readonly isEmulator: boolean;
  getClientConfig(): Promise<object>;
}

/** What `new PubSub` takes; these are used most. */
export interface PubSubClientConfig {
  /** Of a region: `us-east1-pubsub.googleapis.com:443`. */
  readonly apiEndpoint?: string;
  readonly keyFilename?: string;
  readonly credentials?: object;
  /** Whether `apiEndpoint` is an emulator's. Default: when it is none of Google's. */
  readonly emulatorMode?: boolean;
  readonly [name: string]: unknown;
}

export interface PubSubBrokerOptions {
  /** Default: that of the client, of `PUBSUB_PROJECT_ID` or of the credentials. */
  readonly projectId?: string;
  /** A ready client, whose settings and credentials are used. It is not closed. */
  readonly client?: PubSubClient;
  /** In place of `client`. Ordering keys want a regional `apiEndpoint`. */
  readonly clientConfig?: PubSubClientConfig;
  /** The subscription that workers of the default queue consume. Default: of the queue's own name, as with any other queue. */
  readonly subscription?: string;
  /** The subscriptions of other queues, by queue. */
  readonly subscriptions?: Readonly<Record<string, string>>;
  /** Create topics and subscriptions that are missing. For development. Default: false. */
  readonly createMissing?: boolean;
  /** For how long a message is leased each time, in seconds: what a worker that is killed had in hand comes again after that. 1 to 600, default: 60. */
  readonly leaseSeconds?: number;
  /** For how long leases are extended, in milliseconds since a message came. Go: MaxExtension. Default: 3,600,000, an hour. */
  readonly maxExtensionMs?: number;
  /**
   * How many messages that are not due yet a consumer holds. What is beyond it the server keeps, to the second. So many may also wait for
   * others of their ordering key. Default: 1,000.
   */
  readonly maxHeld?: number;
}

/** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
export function checkBrokerOptions(options: PubSubBrokerOptions): void {
  checkOptions('PubSubBroker', options, {
    projectId: optionalOption(stringOption),
    client: optionalOption((value) =>
      functionOption((value as Partial<PubSubClient> | null)?.getClientConfig) === undefined
        ? undefined
        : 'a PubSub client',
    ),
    clientConfig: optionalOption(objectOption),
    subscription: optionalOption(stringOption),
    subscriptions: optionalOption((value) =>
      objectOption(value) === undefined &&
      Object.values(value as object).every((name) => stringOption(name) === undefined)
        ? undefined
        : 'an object of names',
    ),
    createMissing: optionalOption(booleanOption),
    leaseSeconds: optionalOption(integerOption({ min: 1, max: maxLeaseSeconds })),
    maxExtensionMs: optionalOption(integerOption({ min: 1_000 })),
    maxHeld: optionalOption(integerOption({ min: 0 })),
  });
  const { client, clientConfig, projectId } = options;
  if (client === undefined || (clientConfig ?? projectId) === undefined) return;
  const text = 'PubSubBroker: expected `clientConfig` and `projectId` without `client`, which has its own, got both';
  throw new MachineryError('ERR_MACHINERY_INVALID_OPTION', text);
}

/** The server leases for no longer at a time. */
export const maxLeaseSeconds = 600;
