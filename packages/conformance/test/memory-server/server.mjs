// The memory engine as a server: a broker and a backend that outlive the workers. Prints the path of its Unix socket (the
// only argument) when it listens, and ends when its standard input does.
// Invariant: a consumer lives as long as its connection, so that what a dead worker had in hand is given back.

import { createServer } from 'node:net';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { frame, packError, readFrames } from './frames.mjs';

const broker = new MemoryBroker();
const backend = new MemoryBackend();

class Connection {
  #consumers = new Map();
  #exchanges = new Map();
  #nextId = 1;

  constructor(socket) {
    socket.on('error', () => {}); // `close` follows
    socket.on('close', () => this.#end());
    readFrames(socket, async ({ id, abort, target, method, args }) => {
      if (abort !== undefined) return this.#exchanges.get(abort)?.abort();
      const answer = await this.#call(id, target, method, args).then(
        (value) => ({ id, value }),
        (error) => ({ id, error: packError(error) }),
      );
      if (!socket.destroyed) socket.write(frame(answer));
    });
  }

  async #call(id, target, method, args) {
    if (target === 'consumer') return this.#consumer(id, method, ...args);
    if (method === 'consume') return this.#consume(...args);
    const value = await (target === 'broker' ? broker : backend)[method](...args);
    if (method !== 'publish' && method !== 'write') return value;
    return value.map((outcome) => ('error' in outcome ? { ...outcome, error: packError(outcome.error) } : outcome));
  }

  async #consume(options) {
    const id = this.#nextId++;
    this.#consumers.set(id, { consumer: await broker.consume(options), deliveries: new Map() });
    return id;
  }

  async #consumer(id, method, consumerId, settled = [], want = 0) {
    const { consumer, deliveries } = this.#consumers.get(consumerId);
    if (method === 'close') return consumer.close();
    const settlements = settled.flatMap((it) => {
      const delivery = deliveries.get(it.delivery);
      deliveries.delete(it.delivery);
      return delivery === undefined ? [] : [{ ...it, delivery }];
    });
    if (method === 'settle') return consumer.settle(settlements);
    const controller = new AbortController();
    this.#exchanges.set(id, controller);
    const taken = await consumer.exchange(settlements, want, controller.signal);
    this.#exchanges.delete(id);
    return taken.map((delivery) => {
      const deliveryId = this.#nextId++;
      deliveries.set(deliveryId, delivery);
      const { body, redelivered, deliveryCount } = delivery;
      return { id: deliveryId, body, redelivered, deliveryCount };
    });
  }

  #end() {
    for (const { consumer } of this.#consumers.values()) void consumer.close();
  }
}

const server = createServer((socket) => new Connection(socket));
server.listen(process.argv[2], () => console.log(process.argv[2]));
process.stdin.resume().once('end', () => process.exit());
