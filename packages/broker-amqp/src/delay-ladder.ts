// Delays in a fixed number of queues, whatever the ETAs: the delay, in units of 16 ms, is written with 14 digits of base 4, and a
// message passes a queue for each digit that is not 0, the highest first. Queue k.d keeps what comes for d * 4^k units and
// dead-letters it to the exchange of the next lower digit; the last one leads to the work queues. All messages of a queue
// have the same time to live, so none waits behind a later one, and a work queue gets a message only when it is due. With
// milliseconds as units each message would pass two queues more, which takes the server longer than it makes delays exact.
//
// Invariants: a work queue is bound to the due exchange before anything delayed for it is published; what has lost its queue
// meanwhile goes to the queue of unrouted messages, as otherwise a quorum queue would keep it and all behind it.

import type { AmqpConnection } from '@machinery/amqp-client';
import type { Channel } from 'amqplib';
import type { DelayedRoute, Delays } from './delays.ts';
import type { QueueSource, Topology } from './topology.ts';

export interface DelayLadderOptions {
  readonly exchange: string;
  readonly exchangeType: string;
  readonly connection: AmqpConnection;
  /** undefined: what the server has. */
  readonly queueType: 'quorum' | 'classic' | undefined;
}

const base = 4;
const levels = 14;
/** Delays are rounded up to these, in milliseconds. */
const unitMs = 16;
/** In the names of its exchanges and queues: another version's with other parameters are others. */
const scheme = `${unitMs}ms-base${base}`;
/** Queues of unrouted messages are for people: the oldest is dropped. */
const maxUnrouted = 10_000;

export class DelayLadder implements Delays {
  readonly source: QueueSource;
  readonly #options: DelayLadderOptions;

  constructor(options: DelayLadderOptions) {
    this.#options = options;
    this.source = {
      declare: (channel) => this.#declareDue(channel),
      bind: (channel, queue, keys, args) => this.#bind(channel, queue, keys, args),
    };
  }

  async prepare(topology: Topology, routingKey: string): Promise<(delayMs: number) => DelayedRoute> {
    const type = await this.#queueType();
    const doing = 'declare the queues of delayed messages';
    await topology.onceMarked(this.#name(`${scheme}.${type}`), doing, (raw) => this.#declare(raw, type));
    return (delayMs) => {
      const digits = digitsOf(Math.ceil((delayMs + 1) / unitMs)); // a quorum queue may be a tenth of a millisecond early
      const top = digits.findLastIndex((digit) => digit > 0);
      const headers = Object.fromEntries(
        digits.slice(0, top + 1).map((digit, level) => [header(level), String(digit)]),
      );
      return { exchange: this.#level(type, top), routingKey, headers };
    };
  }

  keyOfQueue(queue: string): string {
    return `queue ${queue}`;
  }

  async #queueType(): Promise<'quorum' | 'classic'> {
    const { queueType, connection } = this.#options;
    if (queueType !== undefined) return queueType;
    const [major = 0, minor = 0] = await connection.version();
    return major > 3 || (major === 3 && minor >= 10) ? 'quorum' : 'classic';
  }

  /** From the last level to the first: each dead-letters to one that stands. */
  async #declare(channel: Channel, type: 'quorum' | 'classic'): Promise<void> {
    await this.#declareDue(channel);
    const common =
      type === 'quorum'
        ? { 'x-queue-type': 'quorum', 'x-dead-letter-strategy': 'at-least-once', 'x-overflow': 'reject-publish' }
        : { 'x-queue-type': 'classic' };
    for (let level = 0; level < levels; level++) {
      const [name, next] = [this.#level(type, level), this.#level(type, level - 1)];
      await channel.assertExchange(name, 'headers', { internal: false });
      await channel.bindExchange(next, name, '', { 'x-match': 'all', [header(level)]: '0' });
      for (let digit = 1; digit < base; digit++) {
        const queue = `${name}.${digit}`;
        const args = { ...common, 'x-dead-letter-exchange': next, 'x-message-ttl': digit * base ** level * unitMs };
        await channel.assertQueue(queue, { arguments: args });
        await channel.bindQueue(queue, name, '', { 'x-match': 'all', [header(level)]: String(digit) });
      }
    }
  }

  /** The exchanges that lead to the work queues. The first one knows queues, and keys where keys name queues. */
  async #declareDue(channel: Channel): Promise<void> {
    const { exchangeType } = this.#options;
    const [due, publish, unrouted] = [this.#name('due'), this.#name('publish'), this.#name('unrouted')];
    await channel.assertExchange(unrouted, 'fanout');
    await channel.assertQueue(unrouted, { arguments: { 'x-max-length': maxUnrouted } });
    await channel.bindQueue(unrouted, unrouted, '');
    if (exchangeType !== 'direct') await channel.assertExchange(publish, exchangeType, { alternateExchange: unrouted });
    const alternateExchange = exchangeType === 'direct' ? unrouted : publish;
    await channel.assertExchange(due, 'direct', { alternateExchange });
  }

  async #bind(channel: Channel, queue: string, keys: readonly string[], args: object): Promise<void> {
    const { exchangeType } = this.#options;
    await channel.bindQueue(queue, this.#name('due'), this.keyOfQueue(queue));
    const exchange = this.#name(exchangeType === 'direct' ? 'due' : 'publish');
    for (const key of keys) await channel.bindQueue(queue, exchange, key, args);
  }

  #level(type: 'quorum' | 'classic', level: number): string {
    if (level < 0) return this.#name('due');
    return this.#name(type === 'quorum' ? `${scheme}.${level}` : `${scheme}.classic.${level}`);
  }

  #name(part: string): string {
    return `${this.#options.exchange}.delay.${part}`;
  }
}

/** The lowest first. */
function digitsOf(units: number): number[] {
  const digits: number[] = [];
  for (let rest = units; digits.length < levels; rest = Math.floor(rest / base)) digits.push(rest % base);
  return digits;
}

/** Not `x-…`: a headers exchange does not look at those. */
function header(level: number): string {
  return `machinery-delay-${level}`;
}
