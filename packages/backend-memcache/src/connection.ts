// One socket to a memcached. Commands are sent as they come, and the server answers each with one reply, in their order. Whatever goes
// wrong ends the socket and with it all calls that wait: whoever wants to go on opens another.

import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { MachineryError } from '@machinery/core';
import { addressText, type MemcachedAddress } from './url.ts';

/** What a memcached says to one command. */
export interface Reply {
  /** Without the end of line. */
  readonly line: string;
  /** The value, where the line says that there is one. */
  readonly data?: Buffer;
}

export interface Timeouts {
  /** How long connecting may take, in milliseconds. */
  readonly connectTimeoutMs: number;
  /** How long a server that owes an answer may be silent, in milliseconds. */
  readonly commandTimeoutMs: number;
}

interface Call {
  readonly count: number;
  readonly replies: Reply[];
  /** By `performance.now()`. */
  readonly since: number;
  readonly resolve: (replies: Reply[]) => void;
  readonly reject: (error: MachineryError) => void;
}

/** Characters that are sent at once: what is sent together need not be one text. */
const chunkLength = 65_536;
/** How long `close` waits for answers that are due, in milliseconds. */
const closingMs = 1_000;

export class MemcachedConnection {
  /** It can still be used. */
  isOpen = true;
  /** That, and when by `performance.now()`, the server was silent for too long, which ended the connection. */
  timedOut: { readonly error: MachineryError; readonly at: number } | undefined;
  readonly #name: string;
  readonly #timeouts: Timeouts;
  readonly #socket: Socket;
  readonly #calls: Call[] = [];
  #onIdle: (() => void) | undefined;
  #received: Buffer[] = [];
  #receivedBytes = 0;
  /** How many bytes the next reply has at least. */
  #neededBytes = 0;
  #heardAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #isCorked = false;

  constructor(address: MemcachedAddress, timeouts: Timeouts) {
    this.#name = addressText(address);
    this.#timeouts = timeouts;
    const socket = connect({ ...address, noDelay: true, keepAlive: true });
    this.#socket = socket;
    const { connectTimeoutMs } = timeouts;
    const giveUp = setTimeout(() => this.#timeOut(`no connection within ${connectTimeoutMs} ms`), connectTimeoutMs);
    socket.once('connect', () => clearTimeout(giveUp));
    socket.once('close', () => {
      clearTimeout(giveUp);
      this.#end(this.#unavailable('the connection was closed'));
    });
    socket.on('error', (error) =>
      this.#end(this.#unavailable(error.message || String((error as NodeJS.ErrnoException).code), error)),
    );
    socket.on('data', (bytes) => this.#receive(bytes));
  }

  /**
   * Sends commands, each with its end of line, and answers with the reply to each.
   * @throws MachineryError ERR_MACHINERY_BACKEND_UNAVAILABLE; ERR_MACHINERY_BACKEND_FAILED when the server did not understand one of them.
   */
  call(commands: readonly string[]): Promise<Reply[]> {
    return new Promise((resolve, reject) => {
      this.#calls.push({ count: commands.length, replies: [], since: performance.now(), resolve, reject });
      this.#timer ??= setTimeout(this.#checkTime, this.#timeouts.commandTimeoutMs);
      this.#send(commands);
    });
  }

  /** Ends the connection, after the answers that are due. */
  async close(): Promise<void> {
    if (this.#calls.length > 0) {
      const timer = new AbortController();
      const late = sleep(closingMs, undefined, { signal: timer.signal }).catch(() => {});
      const idle = new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      await Promise.race([idle, late]);
      timer.abort();
    }
    this.#end(new MachineryError('ERR_MACHINERY_CLOSED', 'The Memcached backend is closed'));
  }

  /** What is sent in one turn leaves in one piece. */
  #send(commands: readonly string[]): void {
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#isCorked = false;
        this.#socket.uncork();
      });
    }
    let text = '';
    for (const command of commands) {
      text += command;
      if (text.length < chunkLength) continue;
      this.#socket.write(text);
      text = '';
    }
    if (text !== '') this.#socket.write(text);
  }

  #receive(bytes: Buffer): void {
    this.#heardAt = performance.now();
    this.#received.push(bytes);
    this.#receivedBytes += bytes.length;
    if (this.#receivedBytes < this.#neededBytes) return;
    const all = this.#received.length === 1 ? bytes : Buffer.concat(this.#received);
    const left = all.subarray(this.#takeReplies(all));
    this.#received = left.length === 0 ? [] : [left];
    this.#receivedBytes = left.length;
  }

  /** Answers where the first reply begins that is not whole. */
  #takeReplies(all: Buffer): number {
    let at = 0;
    while (this.isOpen) {
      const end = all.indexOf('\r\n', at);
      if (end === -1) {
        this.#neededBytes = 0;
        break;
      }
      const line = all.toString('latin1', at, end);
      let next = end + 2;
      let data: Buffer | undefined;
      if (line.startsWith('VA ')) {
        const size = Number.parseInt(line.slice(3), 10);
        next += size + 2;
        if (all.length < next) {
          this.#neededBytes = next - at;
          break;
        }
        data = all.subarray(end + 2, end + 2 + size);
      }
      at = next;
      this.#take(data === undefined ? { line } : { line, data });
    }
    return at;
  }

  #take(reply: Reply): void {
    const call = this.#calls[0];
    if (call === undefined || /^(?:CLIENT_)?ERROR\b/.test(reply.line)) {
      const error = this.#refused(reply.line);
      this.#calls.shift()?.reject(error);
      this.#end(this.#unavailable('an error ended the connection', error));
      return;
    }
    call.replies.push(reply);
    if (call.replies.length < call.count) return;
    this.#calls.shift();
    call.resolve(call.replies);
    if (this.#calls.length === 0) this.#onIdle?.();
  }

  /** A server that answers something, if not everything yet, is there. */
  readonly #checkTime = (): void => {
    this.#timer = undefined;
    const [oldest] = this.#calls;
    if (oldest === undefined) return;
    const { commandTimeoutMs } = this.#timeouts;
    const leftMs = Math.max(oldest.since, this.#heardAt) + commandTimeoutMs - performance.now();
    if (leftMs > 0) this.#timer = setTimeout(this.#checkTime, leftMs);
    else this.#timeOut(`no answer within ${commandTimeoutMs} ms`);
  };

  #timeOut(why: string): void {
    const error = this.#unavailable(why);
    this.timedOut = { error, at: performance.now() };
    this.#end(error);
  }

  #end(error: MachineryError): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    clearTimeout(this.#timer);
    this.#socket.destroy();
    for (const call of this.#calls.splice(0)) call.reject(error);
    this.#onIdle?.();
  }

  #unavailable(why: string, cause?: Error): MachineryError {
    return new MachineryError('ERR_MACHINERY_BACKEND_UNAVAILABLE', `Memcached ${this.#name} is away: ${why}`, {
      cause,
    });
  }

  /** What it took for commands may have been a value: nothing that follows can be relied on. */
  #refused(line: string): MachineryError {
    if (/too many open connections/i.test(line)) return this.#unavailable(line);
    const hint = line === 'ERROR' ? ' (1.6 or later is needed)' : '';
    const text = `Memcached ${this.#name} did not take a command${hint}: ${line.slice(0, 200)}`;
    return new MachineryError('ERR_MACHINERY_BACKEND_FAILED', text);
  }
}
