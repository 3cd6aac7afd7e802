// One consumer of one queue, on a channel of its own. The server pushes into a buffer, from which exchanges take; what is
// done is acked together. When the channel is lost, for whatever reason, its deliveries are no longer this consumer's: the server
// delivers them again, and the next exchange opens another channel.
//
// States: open <-> resting, open <-> lost, -> closed. Invariant: a delivery is settled at most once, on the session (the channel) that it came with,
// and never together with one that is not done (`session.ts`).

import { setImmediate as turn } from 'node:timers/promises';
import type { AmqpConnection } from '@machinery/amqp-client';
import { type Consumer, type Delivery, errorText, MachineryError, type Settlement, UnderWay } from '@machinery/core';
import type { ConsumeMessage } from 'amqplib';
import { Copies, type CopiesOptions, type Leaving } from './copies.ts';
import { dueAtHeader, redeliveredHeader } from './messages.ts';
import { Session } from './session.ts';
import type { Topology } from './topology.ts';

export interface AmqpConsumerOptions extends CopiesOptions {
  readonly connection: AmqpConnection;
  readonly topology: Topology;
  readonly tag: string;
  /** What it is now. */
  readonly prefetch: () => number;
  /** How many tasks run at once. */
  readonly slots: number;
  readonly onClose: (consumer: AmqpConsumer) => void;
}

/** How long messages may lie here while there are free slots and nobody asks for them, in milliseconds: the worker is paused. */
const maxIdleMs = 200;
/** What is early by less waits here: the clocks of two machines, or what a timer is early. More is delayed again. */
const maxHoldMs = 1_000;

export class AmqpDelivery implements Delivery {
  readonly body: string;
  readonly redelivered: boolean;
  /** Quorum queues count. */
  readonly deliveryCount?: number;
  readonly session: Session<AmqpDelivery>;
  readonly message: ConsumeMessage;
  /** A copy of it is on its way. */
  isLeaving = false;

  constructor(session: Session<AmqpDelivery>, message: ConsumeMessage) {
    const { headers = {} } = message.properties;
    const { 'x-delivery-count': count } = headers as { 'x-delivery-count'?: unknown };
    this.session = session;
    this.message = message;
    this.body = message.content.toString();
    this.redelivered = message.fields.redelivered || headers[redeliveredHeader] !== undefined;
    if (typeof count === 'number') this.deliveryCount = count + 1;
  }

  get tag(): number {
    return this.message.fields.deliveryTag;
  }

  /** How long until it is due, in milliseconds. */
  get earlyMs(): number {
    const { [dueAtHeader]: dueAt } = this.message.properties.headers ?? {};
    return dueAt === undefined ? 0 : Number(dueAt) - Date.now();
  }
}

export class AmqpConsumer implements Consumer<AmqpDelivery> {
  readonly #options: AmqpConsumerOptions;
  readonly #copies: Copies;
  #session: Session<AmqpDelivery> | undefined;
  #opening: Promise<void> | undefined;
  #buffer: AmqpDelivery[] = [];
  /** Why there is no session, until an exchange has said so. */
  #lostBecause: Error | undefined;
  #wake: (() => void) | undefined;
  #isAsked = false;
  /** Ends with what lies here going back to the queue. */
  #idle: NodeJS.Timeout | undefined;
  /** The server was told to send no more, until somebody asks. */
  #resting: Promise<void> | undefined;
  #goingOn: Promise<void> | undefined;
  readonly #settling = new UnderWay();
  readonly #holds = new Set<NodeJS.Timeout>();
  #closed: Promise<void> | undefined;

  constructor(options: AmqpConsumerOptions) {
    this.#options = options;
    this.#copies = new Copies(options);
  }

  /** Declares the queue and starts to consume it, unless it is being consumed. */
  open(): Promise<void> {
    if (this.#session !== undefined) return Promise.resolve();
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async exchange(
    settled: readonly Settlement<AmqpDelivery>[],
    want: number,
    signal: AbortSignal,
  ): Promise<AmqpDelivery[]> {
    await this.#settleOwn(settled);
    this.#isAsked = true;
    clearTimeout(this.#idle);
    try {
      while (!signal.aborted) {
        if (this.#closed !== undefined) return [];
        if (this.#lostBecause !== undefined) throw this.#takeLoss();
        if (this.#session === undefined) await untilAborted(this.open(), signal);
        else if (this.#resting !== undefined) await untilAborted(this.#goOn(this.#session), signal);
        else if (this.#buffer.length > 0) return this.#buffer.splice(0, want);
        else await this.#change(signal);
      }
      return [];
    } finally {
      this.#isAsked = false;
      if (this.#buffer.length > 0) this.#restLater();
    }
  }

  async settle(settled: readonly Settlement<AmqpDelivery>[]): Promise<void> {
    await this.#settleOwn(settled);
    await turn(); // amqplib writes to its socket in the next one
  }

  async #settleOwn(settled: readonly Settlement<AmqpDelivery>[]): Promise<void> {
    if (this.#closed !== undefined) throw closedError();
    const own = settled.filter(({ delivery }) => this.#isUnsettled(delivery));
    if (own.length === 0) return;
    await this.#settling.during(() => this.#settle(own));
  }

  /** The server tells when a channel is lost, and gives its messages to others then. */
  owns(delivery: AmqpDelivery): boolean {
    return this.#closed === undefined && delivery.session === this.#session && delivery.session.has(delivery);
  }

  /** Never rejects: what could not be given back, the server gives back itself when it misses the connection. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #open(): Promise<void> {
    const { connection, topology, queue, tag } = this.#options;
    const prefetch = this.#options.prefetch();
    topology.forgetOne(`queue ${queue}`); // somebody may have deleted it
    await topology.forQueue(queue);
    const session: Session<AmqpDelivery> = await Session.open({
      connection,
      queue,
      tag,
      prefetch,
      onMessage: (message) => this.#received(session, message),
      onEnd: (reason) => this.#lost(session, reason),
    });
    if (this.#closed !== undefined) return session.close();
    this.#lostBecause = undefined;
    this.#session = session;
    session.start();
    if (prefetch !== this.#options.prefetch()) this.prefetchChanged();
  }

  /** Takes it over. A consumer that has no channel does so when it has one again. */
  prefetchChanged(): void {
    const { prefetch, logger, queue } = this.#options;
    this.#session?.setPrefetch(prefetch()).catch((error) => {
      logger.debug(
        `The consumer of queue ${queue} lost its channel when its prefetch changed: ${errorText(error)}`,
        error,
      );
    });
  }

  #received(session: Session<AmqpDelivery>, message: ConsumeMessage): void {
    const delivery = new AmqpDelivery(session, message);
    session.add(delivery);
    const { earlyMs } = delivery;
    if (earlyMs > maxHoldMs) void this.#delayAgain(delivery, earlyMs);
    else if (earlyMs > 0) this.#after(earlyMs, () => this.#offer(delivery));
    else this.#offer(delivery);
  }

  #offer(delivery: AmqpDelivery): void {
    if (delivery.session !== this.#session) return;
    this.#buffer.push(delivery);
    this.#wake?.();
    if (!this.#isAsked) this.#restLater();
  }

  /** A paused worker asks for nothing, and would keep what it was sent from the others. */
  #restLater(): void {
    if (this.#options.topology.isAutoDelete(this.#options.queue)) return; // the server would delete it with all that it has
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      const session = this.#session;
      if (session === undefined || this.#isAsked || this.#resting !== undefined || this.#buffer.length === 0) return;
      if (session.size - this.#buffer.length >= this.#options.slots) this.#restLater();
      else this.#resting = this.#rest(session);
    }, maxIdleMs);
    this.#idle.unref();
  }

  async #rest(session: Session<AmqpDelivery>): Promise<void> {
    await session.cancel().catch(() => {}); // it is lost then
    const { length } = this.#buffer;
    if (session === this.#session) await session.requeue(this.#buffer.splice(0, length));
  }

  /** Consumes again, once for whoever asks meanwhile. What cannot is lost, which the session says. */
  #goOn(session: Session<AmqpDelivery>): Promise<void> {
    this.#goingOn ??= this.#endRest(session).finally(() => {
      this.#goingOn = undefined;
    });
    return this.#goingOn;
  }

  async #endRest(session: Session<AmqpDelivery>): Promise<void> {
    await this.#resting;
    if (session !== this.#session) return;
    await session.consume();
    if (session === this.#session) this.#resting = undefined;
  }

  /** The server's clock was set, or a queue of delayed messages was not ours. */
  async #delayAgain(delivery: AmqpDelivery, earlyMs: number): Promise<void> {
    const { logger, queue } = this.#options;
    const settlement = { kind: 'requeue', position: 'back', delayMs: earlyMs, delivery } as const;
    logger.warn(`A message of queue ${queue} came ${Math.ceil(earlyMs)} ms before its time, and is delayed again`);
    await this.settle([settlement]).catch(() => {}); // it is closed, and delivers the message again
  }

  #after(ms: number, call: () => void): void {
    const timer = setTimeout(() => {
      this.#holds.delete(timer);
      call();
    }, Math.ceil(ms));
    timer.unref();
    this.#holds.add(timer);
  }

  #isUnsettled(delivery: AmqpDelivery): boolean {
    return delivery.session === this.#session && delivery.session?.has(delivery) === true && !delivery.isLeaving;
  }

  /** First what goes back to its place, as each ack makes room for what comes after; then acks; then what needs a copy. */
  async #settle(settled: readonly Settlement<AmqpDelivery>[]): Promise<void> {
    const session = this.#session as Session<AmqpDelivery>;
    const seen = new Set<AmqpDelivery>();
    const all = settled.filter(({ delivery }) => !seen.has(delivery) && seen.add(delivery));
    const isFront = (settlement: Settlement<AmqpDelivery>) =>
      settlement.kind === 'requeue' && settlement.position === 'front';
    await session.requeue(all.filter(isFront).map(({ delivery }) => delivery));
    session.ack(all.filter(({ kind }) => kind === 'ack').map(({ delivery }) => delivery));
    const leaving = all.filter(
      (settlement): settlement is Leaving => settlement.kind !== 'ack' && !isFront(settlement),
    );
    if (leaving.length > 0) await this.#copies.replace(session, leaving);
  }

  #lost(session: Session<AmqpDelivery>, reason: Error): void {
    if (this.#session !== session) return;
    const { queue, logger } = this.#options;
    this.#options.topology.forget(); // the server that comes back may have nothing
    this.#session = undefined;
    this.#resting = undefined;
    this.#buffer = [];
    this.#lostBecause = reason;
    logger.debug(`The consumer of queue ${queue} lost its channel: ${errorText(reason)}`, reason);
    this.#wake?.();
  }

  #takeLoss(): Error {
    const reason = this.#lostBecause as Error;
    this.#lostBecause = undefined;
    return reason;
  }

  /** Resolves when something has happened, or the signal fires. */
  async #change(signal: AbortSignal): Promise<void> {
    await untilAborted(
      new Promise<void>((resolve) => {
        this.#wake = resolve;
      }),
      signal,
    );
    this.#wake = undefined;
  }

  async #close(): Promise<void> {
    for (const timer of this.#holds) clearTimeout(timer);
    clearTimeout(this.#idle);
    this.#wake?.();
    await Promise.allSettled([this.#settling.none(), this.#opening, this.#resting, this.#copies.close()]);
    await this.#session?.close();
    this.#options.onClose(this);
  }
}

/** Rejects when `promise` does before the signal fires. Leaves no listener. */
async function untilAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  let stop = () => {};
  const aborted = new Promise<void>((resolve) => {
    stop = resolve;
    signal.addEventListener('abort', stop);
  });
  promise.catch(() => {});
  try {
    await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function closedError(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The consumer is closed');
}
