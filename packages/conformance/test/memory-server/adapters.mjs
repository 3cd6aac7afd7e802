// Core's contracts over the socket of server.mjs, whose path is in MACHINERY_MEMORY_SERVER. A connection that is lost
// rejects what is under way; the next call connects again.

import { once } from 'node:events';
import { connect } from 'node:net';
import { contractVersion, MachineryError } from '@machinery/core';
import { frame, readFrames, unpackError } from './frames.mjs';

/** One connection at a time, made when it is needed. */
class Connection {
  #code;
  #closed = false;
  #socket;
  #calls = new Map();
  #nextId = 1;

  constructor(code) {
    this.#code = code;
  }

  /** The connection as it is now: another object after it was lost. */
  async open() {
    if (this.#closed) throw closedError();
    this.#socket ??= this.#connect();
    return this.#socket;
  }

  async call(target, method, args, signal) {
    const socket = await this.open();
    const id = this.#nextId++;
    const answer = new Promise((resolve, reject) => this.#calls.set(id, { socket, resolve, reject }));
    const abort = () => socket.write(frame({ abort: id }));
    socket.write(frame({ id, target, method, args }));
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort);
    return answer.finally(() => signal?.removeEventListener('abort', abort));
  }

  async close() {
    this.#closed = true;
    const socket = await this.#socket?.catch(() => undefined);
    if (socket === undefined || socket.destroyed) return;
    socket.end();
    await once(socket, 'close');
  }

  async #connect() {
    const socket = connect(process.env.MACHINERY_MEMORY_SERVER);
    socket.on('error', () => {}); // `close` follows
    socket.on('close', () => this.#lost(socket));
    readFrames(socket, ({ id, value, error }) => {
      const { resolve, reject } = this.#calls.get(id);
      this.#calls.delete(id);
      if (error === undefined) resolve(value);
      else reject(unpackError(error));
    });
    try {
      await once(socket, 'connect');
      return socket;
    } catch (cause) {
      this.#socket = undefined;
      throw this.#unavailable(cause);
    }
  }

  #lost(socket) {
    this.#socket = undefined;
    for (const [id, call] of this.#calls) {
      if (call.socket !== socket) continue;
      this.#calls.delete(id);
      call.reject(this.#closed ? closedError() : this.#unavailable());
    }
  }

  #unavailable(cause) {
    return new MachineryError(this.#code, 'The connection to the memory server is lost', { cause });
  }
}

function closedError() {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The adapter is closed, or the consumer is');
}

function unpackOutcomes(outcomes) {
  return outcomes.map((outcome) => ('error' in outcome ? { ...outcome, error: unpackError(outcome.error) } : outcome));
}

export function createBroker() {
  const connection = new Connection('ERR_MACHINERY_BROKER_UNAVAILABLE');
  return {
    contractVersion,
    name: 'memory server broker',
    capabilities: { deliveryCount: true, listPending: true, listDelayed: true },
    publish: async (messages) => unpackOutcomes(await connection.call('broker', 'publish', [messages])),
    async consume(options) {
      const consumer = new RemoteConsumer(connection, options);
      await consumer.open();
      return consumer;
    },
    pendingMessages: (...args) => connection.call('broker', 'pendingMessages', args),
    delayedMessages: (...args) => connection.call('broker', 'delayedMessages', args),
    close: () => connection.close(),
  };
}

export function createBackend() {
  const connection = new Connection('ERR_MACHINERY_BACKEND_UNAVAILABLE');
  const passedOn = ['read', 'purge', 'initGroup', 'readGroup', 'renewGroup', 'claimChord', 'finishChord'];
  return {
    contractVersion,
    name: 'memory server backend',
    capabilities: { storesResults: true },
    write: async (writes) => unpackOutcomes(await connection.call('backend', 'write', [writes])),
    ...Object.fromEntries(passedOn.map((name) => [name, (...args) => connection.call('backend', name, args)])),
    close: () => connection.close(),
  };
}

class RemoteConsumer {
  #connection;
  #options;
  #closed = false;
  #socket;
  #id;
  #ids = new WeakMap();

  constructor(connection, options) {
    this.#connection = connection;
    this.#options = options;
  }

  /** Consumes once more after a connection was lost: what was in hand then is no longer this consumer's. */
  async open() {
    if (this.#closed) throw closedError();
    const socket = await this.#connection.open();
    if (socket === this.#socket) return;
    this.#ids = new WeakMap();
    this.#id = await this.#connection.call('broker', 'consume', [this.#options]);
    this.#socket = socket;
  }

  async exchange(settled, want, signal) {
    const taken = await this.#call('exchange', settled, want, signal);
    return taken.map(({ id, ...delivery }) => {
      this.#ids.set(delivery, id);
      return delivery;
    });
  }

  async settle(settled) {
    await this.#call('settle', settled);
  }

  async close() {
    if (this.#closed) return;
    this.#closed = true;
    const socket = await this.#connection.open().catch(() => undefined);
    if (socket === this.#socket) await this.#connection.call('consumer', 'close', [this.#id]).catch(() => {});
  }

  async #call(method, settled, want, signal) {
    await this.open();
    const ids = settled.map((it) => ({ ...it, delivery: this.#ids.get(it.delivery) }));
    return this.#connection.call('consumer', method, [this.#id, ids, want], signal);
  }
}
