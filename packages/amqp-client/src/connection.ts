// A connection to RabbitMQ, opened with the first channel and again after it was lost. The URLs are tried in order.
// Nothing is recovered here: whoever had a channel is told that it is gone, and opens another.

import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionOptions } from 'node:tls';
import {
  type Check,
  errorText,
  functionOption,
  integerOption,
  MachineryError,
  objectOption,
  optionalOption,
  stringOption,
} from '@machinery/core';
import { type Channel, type ChannelModel, type ConfirmChannel, connect, IllegalOperationError } from 'amqplib';
import { AmqpChannel } from './channel.ts';
import { amqpError } from './errors.ts';
import { type AmqpAddress, parseAmqpUrl } from './url.ts';

/** Where RabbitMQ is, for every adapter. */
export interface AmqpConnectionOptions {
  /** `amqp[s]://[user[:password]@]host[:port][/vhost]`; several are nodes of a cluster, tried in order. Their users and vhosts may differ. */
  readonly url?: string | readonly string[];
  /** Opens a connection of amqplib, in place of URLs: for what the options cannot say. The adapter closes what it gets. */
  readonly connect?: () => Promise<ChannelModel>;
  /** In place of the URLs'. Default: theirs, `/` where they have none. */
  readonly vhost?: string;
  /** Options of TLS connections (`amqps://`): certificates, for one. */
  readonly tls?: ConnectionOptions;
  /** How often both sides say that they live, in seconds; 0: never. Default: what the server wants, mostly 60. A connection counts as lost after two. */
  readonly heartbeatSeconds?: number;
  /** Shown by the server's lists of connections. */
  readonly clientName?: string;
  /** How long connecting may take, for each URL, in milliseconds. Default: 10,000. */
  readonly connectTimeoutMs?: number;
  /** How long an answer may take, in milliseconds, before the server counts as away. Default: 10,000. */
  readonly commandTimeoutMs?: number;
}

const isTexts: Check = (value) =>
  Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'string' && one !== '')
    ? undefined
    : 'a URL, or an array of URLs that is not empty';

/** Checks of these options, for the adapter's own. */
export const connectionChecks: Record<keyof AmqpConnectionOptions, Check> = {
  url: optionalOption((value) => (stringOption(value) === undefined ? undefined : isTexts(value))),
  connect: optionalOption(functionOption),
  vhost: optionalOption(stringOption),
  tls: optionalOption(objectOption),
  heartbeatSeconds: optionalOption(integerOption({ min: 0, max: 65_535 })),
  clientName: optionalOption(stringOption),
  connectTimeoutMs: optionalOption(integerOption({ min: 1, max: 2 ** 31 - 1 })),
  commandTimeoutMs: optionalOption(integerOption({ min: 1, max: 2 ** 31 - 1 })),
};

/** What `connect` decides itself. */
const ofUrls = ['vhost', 'tls', 'heartbeatSeconds', 'clientName', 'connectTimeoutMs'] as const;

/** How long `close` waits for the server's word, in milliseconds. */
const closingMs = 1_000;

export class AmqpConnection {
  /** For the codes of errors. */
  readonly role: 'backend' | 'broker';
  readonly #options: AmqpConnectionOptions;
  readonly #addresses: readonly AmqpAddress[];
  readonly #name: string | undefined;
  #opening: Promise<ChannelModel> | undefined;
  #blockedBecause: string | undefined;
  /** Once: so its vhost is there. */
  #wasOpen = false;
  #isClosed = false;

  /**
   * @param owner for error messages.
   * @param purpose is added to the name in the server's list of connections.
   * @throws MachineryError ERR_MACHINERY_INVALID_OPTION for URLs that are none, and for options that do nothing.
   */
  constructor(owner: string, role: 'backend' | 'broker', options: AmqpConnectionOptions, purpose: string) {
    const { url, connect: open, vhost, clientName } = options;
    if ((url === undefined) === (open === undefined)) {
      const text = `${owner}: expected either \`url\` or \`connect\`, got ${url === undefined ? 'none' : 'both'}`;
      throw new MachineryError('ERR_MACHINERY_INVALID_OPTION', text);
    }
    const unused = open === undefined ? undefined : ofUrls.find((name) => options[name] !== undefined);
    if (unused !== undefined) {
      const text = `${owner}: \`${unused}\` is for connections that are opened by \`url\`, got \`connect\``;
      throw new MachineryError('ERR_MACHINERY_INVALID_OPTION', text);
    }
    this.role = role;
    this.#options = options;
    const urls = url === undefined ? [] : typeof url === 'string' ? [url] : url;
    this.#addresses = urls.map((one) => ({ ...parseAmqpUrl(owner, one), ...(vhost !== undefined && { vhost }) }));
    this.#name = clientName === undefined ? undefined : `${clientName} (${purpose})`;
  }

  /** Why the server takes no messages for now: an alarm for memory or disk. undefined: it does. */
  get blockedBecause(): string | undefined {
    return this.#blockedBecause;
  }

  async channel(): Promise<AmqpChannel> {
    return this.#channel((model) => model.createChannel());
  }

  async confirmChannel(): Promise<AmqpChannel<ConfirmChannel>> {
    return this.#channel((model) => model.createConfirmChannel());
  }

  /** The server's version, as numbers: `[3, 10, 8]`. */
  async version(): Promise<readonly number[]> {
    const { version } = (await this.#open()).connection.serverProperties;
    return String(version).split('.').map(Number);
  }

  /** Ends the connection. Safe to call twice; it is not opened again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const model = await this.#opening?.catch(() => undefined);
    if (model === undefined) return;
    const timer = new AbortController();
    const late = sleep(closingMs, undefined, { signal: timer.signal }).catch(() => {});
    const ended = new Promise<void>((resolve) => model.once('close', () => resolve()));
    model.close().catch(() => {}); // it may be closed already
    if (this.#opening !== undefined) await Promise.race([ended, late]);
    timer.abort();
    // amqplib, which hears errors only, ends its heartbeats then
    socketOf(model)?.destroy(new Error('the server did not answer that the connection is closed'));
  }

  async #channel<C extends Channel>(open: (model: ChannelModel) => Promise<C>): Promise<AmqpChannel<C>> {
    const { commandTimeoutMs = 10_000 } = this.#options;
    const opening = this.#open();
    const model = await opening;
    const giveUp = (error: Error) => socketOf(model)?.destroy(error);
    const timer = setTimeout(() => giveUp(new Error('the server opened no channel in time')), commandTimeoutMs);
    try {
      const raw = await open(model);
      const loss = lossOf(model); // what was read together with the answer has no listener yet
      if (loss !== undefined) throw loss;
      const lostBecause = () => lossOf(model);
      return new AmqpChannel(raw, { role: this.role, commandTimeoutMs, lostBecause, giveUp });
    } catch (error) {
      // It was over before anybody listened to it
      if (error instanceof IllegalOperationError && this.#opening === opening) this.#opening = undefined;
      throw amqpError(this.role, 'open a channel', lossOf(model) ?? error);
    } finally {
      clearTimeout(timer);
    }
  }

  #open(): Promise<ChannelModel> {
    if (this.#isClosed) {
      const text = `The ${this.role === 'broker' ? 'broker' : 'result backend'} is closed`;
      return Promise.reject(new MachineryError('ERR_MACHINERY_CLOSED', text));
    }
    if (this.#opening === undefined) {
      const opening = this.#openOne().catch((error) => {
        if (this.#opening === opening) this.#opening = undefined;
        throw amqpError(this.role, 'be reached', isClosedInstead(error) ? refusal(this.#wasOpen) : error);
      });
      this.#opening = opening;
    }
    return this.#opening;
  }

  async #openOne(): Promise<ChannelModel> {
    const { connect: open } = this.#options;
    if (open !== undefined) return this.#watch(await open());
    let failure: unknown;
    for (const address of this.#addresses) {
      try {
        return this.#watch(await this.#connect(address));
      } catch (error) {
        failure ??= error;
      }
    }
    throw failure;
  }

  async #connect(address: AmqpAddress): Promise<ChannelModel> {
    const { tls, heartbeatSeconds, connectTimeoutMs = 10_000 } = this.#options;
    const vhost = encodeURIComponent(address.vhost); // amqplib decodes it
    const where = { ...address, vhost, ...(heartbeatSeconds !== undefined && { heartbeat: heartbeatSeconds }) };
    return connect(where, {
      ...(address.protocol === 'amqps' && tls),
      noDelay: true,
      keepAlive: true,
      timeout: connectTimeoutMs,
      ...(this.#name !== undefined && { clientProperties: { connection_name: this.#name } }),
    });
  }

  #watch(model: ChannelModel): ChannelModel {
    this.#wasOpen = true;
    this.#blockedBecause = undefined;
    model.on('error', (error) => losses.set(model, error));
    model.on('close', (error) => {
      if (error !== undefined && !losses.has(model)) losses.set(model, error);
      if (!losses.has(model)) losses.set(model, new Error('the connection is closed'));
      this.#opening = undefined;
      this.#blockedBecause = undefined;
    });
    model.on('blocked', (reason) => {
      this.#blockedBecause = reason;
    });
    model.on('unblocked', () => {
      this.#blockedBecause = undefined;
    });
    return model;
  }
}

/** Why connections are gone. */
const losses = new WeakMap<ChannelModel, Error>();

function lossOf(model: ChannelModel): Error | undefined {
  return losses.get(model);
}

/** The server ended the handshake when it was asked for the vhost: it has none such, a limit is reached, it stops. amqplib does not say which. */
function isClosedInstead(error: unknown): boolean {
  return /^Expected ConnectionOpenOk; got/.test(errorText(error));
}

/** Refused for good, unless the vhost was entered before. */
function refusal(wasOpen: boolean): Error {
  const error = new Error('the server closed the connection instead of opening the vhost');
  return wasOpen ? error : Object.assign(error, { code: 530 });
}

/** amqplib keeps its socket to itself, but a server that does not answer cannot be left otherwise. */
function socketOf(model: ChannelModel): Socket | undefined {
  return (model.connection as unknown as { stream?: Socket }).stream;
}
