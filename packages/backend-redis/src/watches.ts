// Who waits for which task here. Writers say the end of a task, with its state, on a channel that it shares with all tasks of
// its sender: one subscription, on a connection of its own, for all that a process sends and waits for.

import { isFinal, type TaskState } from '@machinery/core';
import type { RedisConnection } from '@machinery/redis-client';

type Listener = (state: TaskState) => void;

/** Longer states, in bytes, are not said: whoever waits reads them. */
export const largestSaid = 1_000;
/** How often the connection is asked for a sign of life while somebody waits, in milliseconds: it only listens. */
const pingMs = 10_000;
/** How long a channel is kept that nobody needs, in milliseconds: most who wait for a task wait for another one then. */
const lingerMs = 1_000;

/** The channel of a task: core's UUIDs of one process begin alike, all others have channels of their own. */
export function channelOf(taskUuid: string): string {
  const at = taskUuid.indexOf('_');
  const sender = at >= 0 && taskUuid[at + 9] === '-' ? taskUuid.slice(at + 1, at + 9) : taskUuid;
  return `machinery:done:${sender}`;
}

/** What is said of a state, in a line: the state, or the UUID to read it by. */
export function payloadOf(taskUuid: string, text: string): string {
  return Buffer.byteLength(text) > largestSaid ? taskUuid : text;
}

interface WatchesOptions {
  readonly connect: () => RedisConnection;
  /** The state as it is stored; null: there is none. */
  readonly get: (taskUuid: string) => Promise<string | null>;
  readonly decode: (text: string, taskUuid: string) => TaskState | undefined;
}

/** Those who wait for one task. The same function may be there twice. */
interface Watched {
  readonly watchers: Set<{ readonly listener: Listener }>;
  /** What was stored before the channel was open, which does not count. */
  before: Promise<string | null> | null;
}

interface Channel {
  readonly name: string;
  readonly tasks: Map<string, Watched>;
  isOpen: boolean;
  isOpening: boolean;
  linger: NodeJS.Timeout | undefined;
}

export class Watches {
  readonly #options: WatchesOptions;
  readonly #channels = new Map<string, Channel>();
  #connection: RedisConnection | undefined;
  #pings: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: WatchesOptions) {
    this.#options = options;
  }

  add(taskUuid: string, listener: Listener): () => void {
    if (this.#closed) return () => {};
    const channel = this.#channel(channelOf(taskUuid));
    const watched = channel.tasks.get(taskUuid) ?? { watchers: new Set(), before: null };
    const watcher = { listener };
    watched.watchers.add(watcher);
    if (!channel.tasks.has(taskUuid)) {
      channel.tasks.set(taskUuid, watched);
      if (!channel.isOpen) {
        watched.before = this.#options.get(taskUuid);
        watched.before.catch(() => {}); // looked at when the channel is open
      }
    }
    return () => {
      watched.watchers.delete(watcher);
      if (watched.watchers.size === 0 && channel.tasks.get(taskUuid) === watched) this.#remove(channel, taskUuid);
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#pings);
    for (const { linger } of this.#channels.values()) clearTimeout(linger);
    this.#channels.clear();
    await this.#connection?.close();
  }

  #channel(name: string): Channel {
    const there = this.#channels.get(name);
    clearTimeout(there?.linger);
    if (there !== undefined) {
      if (!there.isOpen && this.#connection?.client.status === 'ready') void this.#open(there); // it was refused
      return there;
    }
    const channel: Channel = { name, tasks: new Map(), isOpen: false, isOpening: false, linger: undefined };
    this.#channels.set(name, channel);
    this.#connection ??= this.#connect();
    if (this.#connection.client.status === 'ready') void this.#open(channel);
    else this.#connection.client.connect().catch(() => {}); // it does, or comes back by itself
    return channel;
  }

  #connect(): RedisConnection {
    const connection = this.#options.connect();
    const { client } = connection;
    client.on('message', (_: string, payload: string) => {
      for (const line of payload.split('\n')) this.#heard(line);
    });
    client.on('close', () => {
      for (const channel of this.#channels.values()) channel.isOpen = false;
    });
    this.#pings = setInterval(() => {
      if (client.status === 'ready' && this.#channels.size > 0) client.ping().catch(() => {});
    }, pingMs).unref();
    client.on('ready', () => {
      for (const channel of this.#channels.values()) void this.#open(channel);
    });
    return connection;
  }

  /** Tasks may have ended while the channel was not open: then another state is there than before. */
  async #open(channel: Channel): Promise<void> {
    if (channel.isOpening) return;
    channel.isOpening = true;
    try {
      await this.#connection?.client.subscribe(channel.name);
      channel.isOpen = true;
      if (this.#channels.get(channel.name) !== channel) return this.#leave(channel); // nobody needs it any more
      await Promise.all(
        [...channel.tasks].map(async ([taskUuid, watched]) => {
          const before = await watched.before;
          watched.before = null;
          await this.#look(taskUuid, before);
        }),
      );
    } catch {
      // core reads, too; and a connection that comes back, or the next who waits, opens it again
    } finally {
      channel.isOpening = false;
    }
  }

  #leave({ name }: Channel): void {
    if (!this.#channels.has(name)) this.#connection?.client.unsubscribe(name).catch(() => {});
  }

  #heard(line: string): void {
    const [, taskUuid] = /^\{"TaskUUID":"([^"\\]*)"/.exec(line) ?? [];
    if (taskUuid !== undefined && this.#watched(taskUuid) === undefined) return;
    const state = line.startsWith('{') ? this.#options.decode(line, 'of a message') : undefined;
    if (state !== undefined) this.#tell(state);
    else this.#look(line, null).catch(() => {}); // core reads, too
  }

  #watched(taskUuid: string): Watched | undefined {
    return this.#channels.get(channelOf(taskUuid))?.tasks.get(taskUuid);
  }

  async #look(taskUuid: string, before: string | null): Promise<void> {
    if (this.#watched(taskUuid) === undefined) return;
    const text = await this.#options.get(taskUuid);
    const state = text === null || text === before ? undefined : this.#options.decode(text, taskUuid);
    if (state !== undefined && isFinal(state.state)) this.#tell(state);
  }

  #tell(state: TaskState): void {
    const { taskUuid } = state;
    const watched = this.#watched(taskUuid);
    if (watched === undefined) return;
    this.#remove(this.#channel(channelOf(taskUuid)), taskUuid);
    for (const { listener } of watched.watchers) {
      try {
        listener(state);
      } catch {} // no harm to the others
    }
  }

  #remove(channel: Channel, taskUuid: string): void {
    channel.tasks.delete(taskUuid);
    if (channel.tasks.size > 0) return;
    clearTimeout(channel.linger);
    channel.linger = setTimeout(() => {
      this.#channels.delete(channel.name);
      if (channel.isOpen) this.#leave(channel);
    }, lingerMs).unref();
  }
}
