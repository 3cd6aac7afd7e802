// Who waits for which task here: one subscription for each task, on a connection of its own. Writers publish the UUID of a
// task that is finished; the state itself is read.

import { isFinal, type TaskState } from '@machinery/core';
import type { RedisConnection } from '@machinery/redis-client';

type Listener = (state: TaskState) => void;

/** The channel of a task, on which nothing but its end is said. */
export function channelOf(taskUuid: string): string {
  return `machinery:done:${taskUuid}`;
}

interface WatchesOptions {
  readonly connect: () => RedisConnection;
  /** The state as it is stored; null: there is none. */
  readonly get: (taskUuid: string) => Promise<string | null>;
  readonly decode: (text: string, taskUuid: string) => TaskState | undefined;
}

/** Someone who waits. The same function may be given twice. */
interface Watcher {
  readonly listener: Listener;
}

export class Watches {
  readonly #options: WatchesOptions;
  readonly #watchers = new Map<string, Set<Watcher>>();
  /** Tasks of which the server was not told that someone began or ceased to wait: it is when it is back. */
  readonly #untold = new Set<string>();
  #connection: RedisConnection | undefined;
  #closed = false;

  constructor(options: WatchesOptions) {
    this.#options = options;
  }

  add(taskUuid: string, listener: Listener): () => void {
    const watcher = { listener };
    const watchers = this.#watchers.get(taskUuid);
    if (watchers !== undefined) watchers.add(watcher);
    else {
      this.#watchers.set(taskUuid, new Set([watcher]));
      this.#subscribe(taskUuid);
    }
    return () => this.#remove(taskUuid, watcher);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watchers.clear();
    await this.#connection?.close();
  }

  /** The task may end while the subscription is on its way: then another state is there than when it began. */
  async #subscribe(taskUuid: string): Promise<void> {
    if (this.#closed) return;
    this.#connection ??= this.#open();
    try {
      const before = this.#options.get(taskUuid);
      await Promise.all([this.#connection.client.subscribe(channelOf(taskUuid)), before]);
      await this.#look(taskUuid, await before);
    } catch {
      this.#untold.add(taskUuid); // core reads, too
    }
  }

  #unsubscribe(taskUuid: string): void {
    this.#connection?.client.unsubscribe(channelOf(taskUuid)).then(
      () => this.#untold.delete(taskUuid),
      () => this.#untold.add(taskUuid),
    );
  }

  #tellAgain(): void {
    const untold = [...this.#untold];
    this.#untold.clear();
    for (const taskUuid of untold) {
      if (this.#watchers.has(taskUuid)) this.#subscribe(taskUuid);
      else this.#unsubscribe(taskUuid);
    }
  }

  #open(): RedisConnection {
    const connection = this.#options.connect();
    connection.client.on('message', (channel: string) => {
      this.#look(channel.slice(channelOf('').length)).catch(() => {}); // core reads, too
    });
    connection.client.on('close', () => {
      for (const taskUuid of this.#watchers.keys()) this.#untold.add(taskUuid);
    });
    connection.client.on('ready', () => this.#tellAgain());
    return connection;
  }

  /** Tells those who wait, if the task has ended; `before` is what does not count. */
  async #look(taskUuid: string, before: string | null = null): Promise<void> {
    if (!this.#watchers.has(taskUuid)) return;
    const text = await this.#options.get(taskUuid);
    const state = text === null || text === before ? undefined : this.#options.decode(text, taskUuid);
    if (state === undefined || !isFinal(state.state)) return;
    for (const watcher of this.#watchers.get(taskUuid) ?? []) {
      this.#remove(taskUuid, watcher);
      try {
        watcher.listener(state);
      } catch {} // no harm to the others
    }
  }

  #remove(taskUuid: string, watcher: Watcher): void {
    const watchers = this.#watchers.get(taskUuid);
    if (!watchers?.delete(watcher) || watchers.size > 0) return;
    this.#watchers.delete(taskUuid);
    this.#unsubscribe(taskUuid);
  }
}
