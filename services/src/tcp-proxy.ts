// A TCP proxy that breaks connections, for tests of what goes through it, and counts what clients send.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export interface TcpProxyOptions {
  /** The port, on this machine, of the server behind it. */
  readonly to: number;
}

/** Listens on a port of its own. */
export async function tcpProxy({ to }: TcpProxyOptions): Promise<TcpProxy> {
  const proxy = new TcpProxy(to);
  await proxy.listening();
  return proxy;
}

export class TcpProxy {
  /** How often clients sent something: what they send together is one piece, or some where it is more than 64 kB. */
  pieces = 0;
  readonly #to: number;
  readonly #server: Server;
  /** From the client, to the server. */
  readonly #pairs = new Set<readonly [client: Socket, upstream: Socket]>();
  #stalled: 'nothing' | 'replies' | 'everything' = 'nothing';

  constructor(to: number) {
    this.#to = to;
    this.#server = createServer((client) => this.#accept(client)).listen(0, '127.0.0.1');
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async listening(): Promise<void> {
    if (!this.#server.listening) await once(this.#server, 'listening');
  }

  /** Resets all connections, and what is held back is lost. New ones are accepted. */
  cut(): void {
    for (const [client, upstream] of this.#pairs) {
      client.resetAndDestroy();
      upstream.destroy();
    }
    this.#pairs.clear();
  }

  /** Holds back what comes from now on, until `resume`. With `replies`, requests still reach the server. */
  stall(what: 'replies' | 'everything' = 'everything'): void {
    this.#stalled = what;
    this.#apply();
  }

  resume(): void {
    this.#stalled = 'nothing';
    this.#apply();
  }

  /** Refuses connections from now on, and resets those that there are. */
  async close(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, 'close');
  }

  #accept(client: Socket): void {
    const upstream = connect(this.#to, '127.0.0.1');
    const pair = [client, upstream] as const;
    this.#pairs.add(pair);
    client.on('data', () => {
      this.pieces++;
    });
    for (const [from, to] of [pair, [upstream, client] as const]) {
      from.setNoDelay();
      from.on('data', (bytes) => to.write(bytes));
      from.on('end', () => to.end());
      from.on('error', () => {}); // 'close' follows
      from.on('close', () => {
        to.destroy();
        this.#pairs.delete(pair);
      });
    }
    this.#apply();
  }

  #apply(): void {
    for (const [client, upstream] of this.#pairs) {
      if (this.#stalled === 'everything') client.pause();
      else client.resume();
      if (this.#stalled === 'nothing') upstream.resume();
      else upstream.pause();
    }
  }
}
