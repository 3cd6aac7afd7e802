// The two generated clients, which are opened with the first call and called here only: once each, within a time, with core's errors.
// The library's own Subscription is not used: it holds more than was asked for, and cannot put a message aside.

import { type ClientConfig, PubSub, v1 } from '@google-cloud/pubsub';
import { MachineryError } from '@machinery/core';
import { pubsubError } from './errors.ts';
import type { PubSubBrokerOptions } from './options.ts';

/** For any call but a pull, in milliseconds. */
const callTimeoutMs = 30_000;

/** Options of one call, as the generated clients take them. */
interface CallOptions {
  readonly timeout: number;
  readonly retry: { readonly retryCodes: number[] };
  /** Or the library puts the requests of 10 ms into one, over the server's limits, with all ordering keys. */
  readonly isBundling: false;
  readonly otherArgs?: { readonly options: { readonly interceptors: readonly Interceptor[] } };
}
type Interceptor = (options: unknown, next: (options: unknown) => Cancellable) => Cancellable;
interface Cancellable {
  cancelWithStatus(status: number, details: string): void;
}

type GeneratedConfig = NonNullable<ConstructorParameters<typeof v1.PublisherClient>[0]>;

export interface OpenClients {
  readonly projectId: string;
  readonly publisher: v1.PublisherClient;
  readonly subscriber: v1.SubscriberClient;
}

export class Clients {
  readonly #options: PubSubBrokerOptions;
  #open: Promise<OpenClients> | undefined;
  #isClosed = false;

  constructor(options: PubSubBrokerOptions) {
    this.#options = options;
  }

  /** The project, once it is known. */
  async projectId(): Promise<string> {
    return (await this.#opened()).projectId;
  }

  /**
   * One call, which is not repeated. Rejects with core's error, which says what was being done.
   * @param signal of this call alone: ends it, with a rejection.
   */
  async call<T>(
    doing: string,
    call: (clients: OpenClients, options: CallOptions) => Promise<readonly [T, ...unknown[]]>,
    { timeoutMs = callTimeoutMs, signal }: { timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<T> {
    try {
      const clients = await this.#opened();
      signal?.throwIfAborted();
      const [answer] = await call(clients, {
        timeout: timeoutMs,
        retry: { retryCodes: [] },
        isBundling: false,
        ...(signal !== undefined && { otherArgs: { options: { interceptors: [cancelledBy(signal)] } } }),
      });
      return answer;
    } catch (error) {
      throw pubsubError(doing, error);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const open = await this.#open?.catch(() => undefined);
    await Promise.all([open?.publisher.close(), open?.subscriber.close()]);
  }

  #opened(): Promise<OpenClients> {
    if (this.#isClosed) throw new MachineryError('ERR_MACHINERY_CLOSED', 'The broker is closed');
    this.#open ??= open(this.#options).catch((error) => {
      this.#open = undefined;
      throw error;
    });
    return this.#open;
  }
}

async function open({ projectId, client, clientConfig }: PubSubBrokerOptions): Promise<OpenClients> {
  const settings: ClientConfig = { ...clientConfig, ...(projectId !== undefined && { projectId }) };
  const pubsub = client ?? new PubSub(settings);
  const given = (await pubsub.getClientConfig()) as ClientConfig;
  const config = {
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 5_000,
    ...given,
  } as GeneratedConfig;
  // Or the library asks the metadata server of Google's machines where it is
  if (pubsub.isEmulator) config.clientOptions = { universeDomain: 'googleapis.com', ...config.clientOptions };
  const id = given.projectId ?? '';
  if (id === '') {
    const text = 'PubSubBroker: expected `projectId`, as neither the environment nor the credentials name a project';
    throw new MachineryError('ERR_MACHINERY_INVALID_OPTION', text);
  }
  const [publisher, subscriber] = [new v1.PublisherClient(config), new v1.SubscriberClient(config)];
  // What their first call would do, whose failure nobody could catch there
  await Promise.all([publisher.initialize(), subscriber.initialize()]);
  return { projectId: id, publisher, subscriber };
}

/** The generated clients do not hand out the call that could be cancelled. */
function cancelledBy(signal: AbortSignal): Interceptor {
  return (options, next) => {
    const call = next(options);
    const cancel = () => call.cancelWithStatus(1, 'The consumer is closed');
    if (signal.aborted) process.nextTick(cancel);
    else signal.addEventListener('abort', cancel, { once: true });
    return call;
  };
}
