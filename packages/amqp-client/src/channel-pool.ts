// A few long-lived channels for calls that the server answers: each call has one for itself, and calls that find none wait
// their turn. A call that the server refuses closes its channel, and nobody else's.

import type { Channel } from 'amqplib';
import type { AmqpChannel } from './channel.ts';
import type { AmqpConnection } from './connection.ts';

export class ChannelPool {
  readonly #connection: AmqpConnection;
  readonly #size: number;
  /** Open ones that nobody uses. */
  #idle: AmqpChannel[] = [];
  #used = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(connection: AmqpConnection, size: number) {
    this.#connection = connection;
    this.#size = size;
  }

  /** Rejects with core's error. A channel is used again when the call has succeeded, and closed otherwise. */
  run<T>(doing: string, call: (raw: Channel) => Promise<T>): Promise<T> {
    return this.#inTurn(doing, call, true);
  }

  /** The same on a channel that is closed after the call, with all that was consumed on it. */
  runAlone<T>(doing: string, call: (raw: Channel) => Promise<T>): Promise<T> {
    return this.#inTurn(doing, call, false);
  }

  async #inTurn<T>(doing: string, call: (raw: Channel) => Promise<T>, isKept: boolean): Promise<T> {
    if (this.#used === this.#size) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#used += 1;
    let channel: AmqpChannel | undefined;
    try {
      this.#idle = this.#idle.filter(({ isOpen }) => isOpen);
      channel = (isKept ? this.#idle.pop() : undefined) ?? (await this.#connection.channel());
      const answer = await channel.call(doing, call);
      if (isKept) this.#idle.push(channel);
      else await channel.close();
      return answer;
    } catch (error) {
      void channel?.close();
      throw error;
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#used -= 1;
      else next();
    }
  }
}
