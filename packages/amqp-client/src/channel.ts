// A channel and why it ended: amqplib tells what waits on a channel only that it is closed, and the reason elsewhere.
//
// Invariant: `ended` is called once, a turn after the channel was closed by whomever, when the reason is known.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Channel, ConfirmChannel } from 'amqplib';
import { amqpError } from './errors.ts';

export interface AmqpChannelOptions {
  readonly role: 'backend' | 'broker';
  readonly commandTimeoutMs: number;
  /** Why the connection is gone, when it is. */
  readonly lostBecause: () => Error | undefined;
  /** Ends the connection: the server does not answer. */
  readonly giveUp: (error: Error) => void;
}

/** How long closing may take, in milliseconds: the server may be gone. */
const closingMs = 1_000;

/** An open channel of amqplib. */
export class AmqpChannel<C extends Channel = Channel> {
  readonly raw: C;
  readonly #timed: C;
  readonly #options: AmqpChannelOptions;
  #error: Error | undefined;
  #isOpen = true;
  readonly #closed: Promise<void>;

  constructor(raw: C, options: AmqpChannelOptions) {
    this.raw = raw;
    this.#timed = timed(raw, options);
    this.#options = options;
    raw.on('error', (error) => {
      this.#error ??= error;
    });
    this.#closed = new Promise((resolve) => {
      raw.once('close', () => {
        this.#isOpen = false;
        queueMicrotask(resolve); // the connection says why when its channels are closed
      });
    });
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Why it is closed. */
  get reason(): Error {
    return this.#error ?? this.#options.lostBecause() ?? new Error('the channel is closed');
  }

  /** Calls `listener` when it is closed, by whomever. */
  onEnd(listener: (reason: Error) => void): void {
    void this.#closed.then(() => listener(this.reason));
  }

  /**
   * Calls that the server answers, each within `commandTimeoutMs`; what `call` waits for in between is not timed. Rejects with core's
   * error, whose text says what was being done.
   */
  async call<T>(doing: string, call: (raw: C) => Promise<T>): Promise<T> {
    try {
      return await call(this.#timed);
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (code === undefined && this.#isOpen) await Promise.resolve(); // its end may be on its way
      throw amqpError(this.#options.role, doing, code === undefined && !this.#isOpen ? this.reason : error);
    }
  }

  /** Safe to call twice; never rejects. */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    const timer = new AbortController();
    try {
      const late = sleep(closingMs, undefined, { signal: timer.signal }).catch(() => {});
      this.raw.close().catch(() => {});
      await Promise.race([this.#closed, late]);
    } catch {
      // it is being closed
    } finally {
      timer.abort();
    }
  }
}

/** The same channel, which gives the connection up when the server leaves one of its calls without an answer. */
function timed<C extends Channel>(raw: C, { commandTimeoutMs, giveUp }: AmqpChannelOptions): C {
  const late = () => giveUp(new Error(`the server did not answer within ${commandTimeoutMs} ms`));
  const get = (_: C, name: string | symbol) => {
    const member: unknown = Reflect.get(raw, name);
    if (typeof member !== 'function') return member;
    return (...args: unknown[]) => {
      const answer: unknown = member.apply(raw, args);
      if (!(answer instanceof Promise)) return answer;
      const timer = setTimeout(late, commandTimeoutMs);
      return answer.finally(() => clearTimeout(timer));
    };
  };
  return new Proxy(raw, { get });
}

export type AmqpConfirmChannel = AmqpChannel<ConfirmChannel>;
