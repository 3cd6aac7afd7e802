// Which memcached has which key, as Go's client says, and the connections to them, each opened with the first call and again after it
// was lost.

import { crc32 } from 'node:zlib';
import { MachineryError } from '@machinery/core';
import { MemcachedConnection, type Reply, type Timeouts } from './connection.ts';
import { addressText, type MemcachedAddress } from './url.ts';

/** A command on one key. */
export interface Command {
  readonly key: string;
  /** Its text, with the value and the end of line. */
  readonly text: string;
}

/** For so long, in milliseconds, nobody waits for a server that was silent, unless it answers `noop`. */
const silentMs = 60_000;
const noop = 'mn\r\n';

export class MemcachedServers {
  /** One that is listed twice has two places. */
  readonly #places: readonly Server[];

  constructor(addresses: readonly MemcachedAddress[], timeouts: Timeouts) {
    const servers = new Map<string, Server>();
    this.#places = addresses.map((address) => {
      const name = addressText(address);
      const server = servers.get(name) ?? new Server(address, timeouts);
      servers.set(name, server);
      return server;
    });
  }

  /** Sends all commands, in one piece to each server. What a server cannot be asked is an error in its place. */
  async call(commands: readonly Command[]): Promise<(Reply | MachineryError)[]> {
    const answers = new Array<Reply | MachineryError>(commands.length);
    const byServer = new Map<Server, number[]>();
    for (const [i, { key }] of commands.entries()) {
      const server = this.#serverOf(key);
      const mine = byServer.get(server);
      if (mine === undefined) byServer.set(server, [i]);
      else mine.push(i);
    }
    const ask = async ([server, mine]: [Server, number[]]) => {
      const texts = mine.map((i) => (commands[i] as Command).text);
      const replies = await server.call(texts).catch((error: MachineryError) => error);
      for (const [at, i] of mine.entries()) answers[i] = Array.isArray(replies) ? (replies[at] as Reply) : replies;
    };
    await Promise.all([...byServer].map(ask));
    return answers;
  }

  async close(): Promise<void> {
    await Promise.all([...new Set(this.#places)].map((server) => server.close()));
  }

  /** Go: ServerList.PickServer of gomemcache. The places are those of the list, not sorted. */
  #serverOf(key: string): Server {
    const { length } = this.#places;
    return this.#places[length === 1 ? 0 : crc32(key) % length] as Server;
  }
}

class Server {
  readonly #address: MemcachedAddress;
  readonly #timeouts: Timeouts;
  #connection: MemcachedConnection | undefined;
  /** It did not answer in time: what others are asked together with it should not wait for it again and again. */
  #silent: MemcachedConnection['timedOut'];
  #isClosed = false;

  constructor(address: MemcachedAddress, timeouts: Timeouts) {
    this.#address = address;
    this.#timeouts = timeouts;
  }

  async call(commands: readonly string[]): Promise<Reply[]> {
    if (this.#isClosed) throw closed();
    const connection = this.#connection?.isOpen ? this.#connection : this.#connect();
    if (this.#silent !== undefined && performance.now() - this.#silent.at < silentMs) throw this.#silent.error;
    return connection.call(commands);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#connection?.close();
  }

  #connect(): MemcachedConnection {
    this.#silent = this.#connection?.timedOut ?? this.#silent;
    this.#connection = new MemcachedConnection(this.#address, this.#timeouts);
    const answered = () => {
      this.#silent = undefined;
    };
    if (this.#silent !== undefined) this.#connection.call([noop]).then(answered, () => {});
    return this.#connection;
  }
}

/** @throws MachineryError what stands in the place of a reply. */
export function replyOf(answer: Reply | MachineryError | undefined): Reply {
  if (answer instanceof Error) throw answer;
  return answer as Reply;
}

export function closed(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The Memcached backend is closed');
}
