// One consumer of one subscription. It pulls as many messages as are wanted, so it has no more than core asked for, but for those that
// are not due yet: they are put aside, and pulled on. A pull that an exchange does not wait for any more goes on, and serves the next.
//
// Invariants: a delivery is settled once, by identity; whatever is here is leased, or is dropped, as the server delivers it again.

import { type Consumer, errorText, type Logger, MachineryError, type Outcome, type Settlement } from '@machinery/core';
import { Acks, type Answer } from './acks.ts';
import type { Clients } from './clients.ts';
import { PubSubDelivery } from './delivery.ts';
import { isMissing, isTimeout } from './errors.ts';
import { Leases } from './leases.ts';
import { ageMsOf, copyOf, deadReasonAttribute, markedCopyOf, type PubsubMessage, reasonText } from './messages.ts';
import { maxLeaseSeconds, type PubSubBrokerOptions } from './options.ts';
import type { Sending } from './publisher.ts';
import type { Source } from './resources.ts';

export interface PubSubConsumerOptions extends PubSubBrokerOptions {
  readonly clients: Clients;
  readonly queue: string;
  /** The most that are handed out and not settled. */
  readonly maxInHand: number;
  readonly source: () => Promise<Source>;
  /** The topic of this name, in full. */
  readonly topicOf: (name: string) => Promise<string>;
  readonly send: (sendings: readonly Sending[]) => Promise<Outcome[]>;
  readonly logger: Logger;
  readonly onClose: (consumer: PubSubConsumer) => void;
}

/** How long a pull waits, in milliseconds: the server answers before that, with nothing. */
const pullTimeoutMs = 120_000;
/** The server's limit. */
const maxPull = 1_000;
/** How long messages may lie here while nobody asks for them, in milliseconds: the worker is paused, or busy. */
const maxIdleMs = 200;

type Settled = Settlement<PubSubDelivery>;

type Dead = Settled & { readonly kind: 'dead' };
type Requeue = Settled & { readonly kind: 'requeue' };

/** What stands as soon as the subscription was looked at. */
interface Opened {
  readonly source: Source;
  readonly acks: Acks;
  readonly leases: Leases;
}

export class PubSubConsumer implements Consumer<PubSubDelivery> {
  readonly #options: PubSubConsumerOptions;
  #opened: Opened | undefined;
  /** The subscription was there when it was looked at last. */
  #isThere = false;
  /** Due, and waiting to be asked for. */
  #buffer: PubSubDelivery[] = [];
  /** Handed out, and not settled. */
  #inHand = 0;
  /** Not due yet, with what will say that they are. */
  readonly #held = new Map<PubSubDelivery, NodeJS.Timeout>();
  #pulling: Promise<void> | undefined;
  #endPull = new AbortController();
  /** Why the last pull failed, until an exchange has said so. */
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #isAsked = false;
  #idle: NodeJS.Timeout | undefined;
  readonly #settling = new Set<Promise<unknown>>();
  #closed: Promise<void> | undefined;

  constructor(options: PubSubConsumerOptions) {
    this.#options = options;
  }

  /** Looks whether the subscription is there. */
  async open(): Promise<void> {
    const source = await this.#options.source();
    this.#isThere = true;
    if (this.#opened !== undefined) return;
    const acks = new Acks(this.#options.clients, source.subscription);
    this.#opened = { source, acks, leases: new Leases(acks, source, this.#options, this.#options.logger) };
  }

  async exchange(settled: readonly Settled[], want: number, signal: AbortSignal): Promise<PubSubDelivery[]> {
    this.#refuseClosed();
    this.#isAsked = true;
    clearTimeout(this.#idle);
    try {
      if (!signal.aborted && this.#isThere && this.#buffer.length === 0) this.#pull(this.#room(want));
      await this.#settleOwn(settled);
      while (!signal.aborted) {
        if (this.#closed !== undefined) return [];
        const due = this.#takeDue(this.#room(want));
        if (due.length > 0) return due;
        if (this.#failure !== undefined) throw this.#takeFailure();
        if (!this.#isThere) await untilAborted(this.open(), signal);
        else {
          this.#pull(this.#room(want));
          await this.#change(signal);
        }
      }
      return [];
    } finally {
      this.#isAsked = false;
      this.#giveBackLater();
    }
  }

  async settle(settled: readonly Settled[]): Promise<void> {
    this.#refuseClosed();
    await this.#settleOwn(settled);
  }

  /**
   * While the lease runs, it is. When it may have run out, the server knows with exactly-once delivery. Without, another consumer has it
   * for certain only when renewals failed: a task that blocked the event loop for longer would else run again for ever.
   */
  owns(delivery: PubSubDelivery): boolean | Promise<boolean> {
    const { source, leases } = this.#opened as Opened;
    if (this.#closed !== undefined || !leases.has(delivery)) return false;
    if (delivery.isSurelyLeased || (delivery.isLeased && !source.exactlyOnce)) return true;
    if (source.exactlyOnce ? !delivery.isLost : !delivery.renewalFailed) return this.#asks(delivery, leases);
    this.#drop(delivery);
    return false;
  }

  async #asks(delivery: PubSubDelivery, leases: Leases): Promise<boolean> {
    const isOwn = await leases.renewNow(delivery);
    if (!isOwn) this.#drop(delivery);
    return isOwn;
  }

  /** Never rejects: what could not be given back, the server delivers again when its lease has run out. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    clearTimeout(this.#idle);
    for (const timer of this.#held.values()) clearTimeout(timer);
    this.#wake?.();
    this.#endPull.abort();
    await Promise.allSettled([this.#pulling, ...this.#settling]);
    if (this.#opened !== undefined) {
      const left = this.#opened.leases.all().map((delivery) => {
        delivery.isLeaving = true;
        return { kind: 'requeue', position: 'front', begun: delivery.isHandedOut, delivery } as const;
      });
      await this.#settle(left).catch((error) => this.#logDropped('given back', error));
      this.#opened.leases.end();
    }
    this.#options.onClose(this);
  }

  // Taking

  #room(want: number): number {
    return Math.min(want, this.#options.maxInHand - this.#inHand);
  }

  #takeDue(want: number): PubSubDelivery[] {
    const due: PubSubDelivery[] = [];
    while (due.length < want && this.#buffer.length > 0) {
      const delivery = this.#buffer.shift() as PubSubDelivery;
      if (!delivery.isLeased) this.#drop(delivery);
      else {
        delivery.isHandedOut = true;
        this.#inHand++;
        due.push(delivery);
      }
    }
    return due;
  }

  /** One at a time. */
  #pull(want: number): void {
    if (this.#pulling !== undefined || want <= 0) return;
    this.#endPull = new AbortController();
    this.#pulling = this.#pullOnce(want)
      .catch((error) => {
        if (isTimeout(error) || this.#closed !== undefined) return;
        this.#isThere = !isMissing(error);
        this.#failure = error;
      })
      .finally(() => {
        this.#pulling = undefined;
        this.#wake?.();
      });
  }

  async #pullOnce(want: number): Promise<void> {
    const { source, leases } = this.#opened as Opened;
    const { subscription, ackDeadlineSeconds } = source;
    const { receivedMessages } = await this.#options.clients.call(
      `pull from ${subscription}`,
      ({ subscriber }, options) => subscriber.pull({ subscription, maxMessages: Math.min(want, maxPull) }, options),
      { timeoutMs: pullTimeoutMs, signal: this.#endPull.signal },
    );
    for (const received of receivedMessages ?? []) {
      const delivery = new PubSubDelivery(received, ackDeadlineSeconds * 1_000, leases.shortestMs / 2);
      leases.add(delivery);
      if (delivery.earlyMs > 0) this.#hold(delivery);
      else this.#offer(delivery);
    }
  }

  #offer(delivery: PubSubDelivery): void {
    if (this.#closed !== undefined) return; // which gives it back
    this.#buffer.push(delivery);
    this.#wake?.();
    this.#giveBackLater();
  }

  /** Others may be free for it. */
  #giveBackLater(): void {
    clearTimeout(this.#idle);
    if (this.#isAsked || this.#buffer.length === 0 || this.#closed !== undefined) return;
    this.#idle = setTimeout(() => {
      const settled = this.#buffer
        .splice(0)
        .map((delivery) => ({ kind: 'requeue', position: 'back', delivery }) as const);
      this.#settleOwn(settled).catch((error) => this.#logDropped('given back', error));
    }, maxIdleMs).unref();
  }

  // Messages that are not due

  #hold(delivery: PubSubDelivery): void {
    if (this.#closed !== undefined) return;
    const { maxHeld = 1_000 } = this.#options;
    const { earlyMs } = delivery;
    if (this.#held.size >= maxHeld) {
      const settlement = { kind: 'requeue', position: 'back', delayMs: earlyMs, delivery } as const;
      this.#settleOwn([settlement]).catch((error) => this.#logDropped('left to the server', error));
      return;
    }
    const extensionMs = (this.#opened as Opened).leases.maxExtensionMs - (performance.now() - delivery.receivedAt);
    const timer = setTimeout(
      () => this.#release(delivery),
      Math.ceil(Math.min(earlyMs, Math.max(0, extensionMs), maxTimerMs)),
    );
    this.#held.set(delivery, timer.unref());
  }

  /** It is due, cannot be held for longer, or its timer was early. */
  #release(delivery: PubSubDelivery): void {
    this.#held.delete(delivery);
    const { leases } = this.#opened as Opened;
    if (!delivery.isLeased) this.#drop(delivery);
    else if (delivery.earlyMs <= 0) this.#offer(delivery);
    else if (performance.now() - delivery.receivedAt < leases.maxExtensionMs) this.#hold(delivery);
    else this.#track(this.#publishAgain(delivery));
  }

  /** Its lease and its age begin anew. A crash in between leaves one more. */
  async #publishAgain(delivery: PubSubDelivery): Promise<void> {
    delivery.isLeaving = true;
    const copy = delivery.redelivered ? markedCopyOf : copyOf;
    const error = await this.#replace([{ kind: 'ack', delivery }], ({ message }) => copy(message));
    if (error !== undefined) this.#logDropped('published again', error);
    this.#drop(delivery);
  }

  /** Publishes copies, and acks those that are stored: a crash in between leaves one more. The others come again. */
  async #replace(
    settled: readonly Settled[],
    copy: (delivery: PubSubDelivery) => PubsubMessage,
  ): Promise<Error | undefined> {
    const { source, acks } = this.#opened as Opened;
    const what = `A message of queue ${this.#options.queue}`;
    const sendings = settled.map(({ delivery }) => ({ topic: source.topic, message: copy(delivery), what }));
    const outcomes = await this.#options.send(sendings);
    const stored = settled.filter((_, i) => outcomes[i]?.status === 'stored');
    for (const [i, { delivery }] of settled.entries()) delivery.isLeaving = outcomes[i]?.status === 'stored';
    const refused = outcomes.find((outcome) => outcome.status !== 'stored') as { readonly error: Error } | undefined;
    return (await this.#settled(stored, (deliveries) => acks.ack(deliveries))) ?? refused?.error;
  }

  /** It comes again when its lease has run out, if it has not been settled. */
  #drop(delivery: PubSubDelivery): void {
    if (!this.#opened?.leases.delete(delivery) || !delivery.isHandedOut) return;
    this.#inHand--;
    this.#wake?.();
  }

  #logDropped(what: string, error: unknown): void {
    const text = `A message of queue ${this.#options.queue} could not be ${what}, and comes again when its lease has run out`;
    this.#options.logger.debug(`${text}: ${errorText(error)}`, error);
  }

  // Settling

  async #settleOwn(settled: readonly Settled[]): Promise<void> {
    const own: Settled[] = [];
    for (const settlement of settled) {
      const { delivery } = settlement;
      if (delivery.isLeaving || this.#opened?.leases.has(delivery) !== true) continue;
      if (delivery.isLost) {
        this.#drop(delivery);
        continue;
      }
      delivery.isLeaving = true;
      own.push(settlement);
    }
    if (own.length > 0) await this.#track(this.#settle(own));
  }

  /** Rejects when some may not be settled; those are this consumer's still. */
  async #settle(settled: readonly Settled[]): Promise<void> {
    const { acks } = this.#opened as Opened;
    const acked: Settled[] = [];
    const dead: Dead[] = [];
    const marked: Requeue[] = [];
    const bySeconds = new Map<number, Requeue[]>();
    for (const settlement of settled) {
      if (settlement.kind === 'ack') acked.push(settlement);
      else if (settlement.kind === 'dead') dead.push(settlement);
      else if (isToBeMarked(settlement)) marked.push(settlement);
      else {
        const seconds = this.#secondsUntil(settlement);
        bySeconds.set(seconds, [...(bySeconds.get(seconds) ?? []), settlement]);
      }
    }
    const calls = [...bySeconds].map(([seconds, part]) =>
      this.#settled(part, (deliveries) => acks.lease(deliveries, seconds)),
    );
    if (acked.length > 0) calls.push(this.#settled(acked, (deliveries) => acks.ack(deliveries)));
    if (marked.length > 0) calls.push(this.#replace(marked, ({ message }) => markedCopyOf(message)));
    if (dead.length > 0) calls.push(this.#bury(dead));
    const error = (await Promise.all(calls)).find((it) => it !== undefined);
    if (error !== undefined) throw error;
  }

  /** How long the server shall keep what is requeued, in whole seconds, so that it is never early. */
  #secondsUntil(requeue: Requeue): number {
    const { delivery } = requeue;
    const delayMs = isBegun(requeue)
      ? (this.#opened as Opened).leases.shortestMs - ageMsOf(delivery.message)
      : requeue.position === 'back'
        ? (requeue.delayMs ?? 0)
        : 0;
    return Math.min(maxLeaseSeconds, Math.ceil(Math.max(0, delayMs) / 1_000));
  }

  async #settled(
    settled: readonly Settled[],
    call: (deliveries: readonly PubSubDelivery[]) => Promise<Answer>,
  ): Promise<Error | undefined> {
    const { queue, logger } = this.#options;
    const { done, lost, failed, error } = await call(settled.map(({ delivery }) => delivery));
    for (const delivery of [...done, ...lost]) this.#drop(delivery);
    for (const delivery of failed) delivery.isLeaving = false;
    if (lost.length > 0)
      logger.warn(`${lost.length} message(s) of queue ${queue} were settled too late: their leases had run out`);
    return error;
  }

  /** To the topic of dead messages, or to the log where there is none. What that topic does not take comes again later. */
  async #bury(dead: readonly Dead[]): Promise<Error | undefined> {
    const { queue, logger, topicOf, send } = this.#options;
    const { source, acks } = this.#opened as Opened;
    const topic = source.deadTopic ?? (await topicOf(`${queue}.dead`));
    const copy = ({ delivery, reason }: Dead) =>
      copyOf(delivery.message, { [deadReasonAttribute]: reasonText(reason) });
    const what = `A dead message of queue ${queue}`;
    const outcomes = await send(dead.map((settled) => ({ topic, message: copy(settled), what })));
    const [buried, left]: [Dead[], Dead[]] = [[], []];
    for (const [i, settled] of dead.entries()) {
      const outcome = outcomes[i] as Outcome;
      const why = outcome.status === 'stored' ? undefined : outcome.error;
      const { body } = settled.delivery;
      (why === undefined || isMissing(why) ? buried : left).push(settled);
      if (isMissing(why))
        logger.error(`${what} is gone, as there is no ${topic}: ${settled.reason}: ${body.slice(0, 10_000)}`);
      else if (why !== undefined) logger.error(`${what} comes again in 10 minutes: ${errorText(why)}`, why);
    }
    const errors = await Promise.all([
      this.#settled(buried, (deliveries) => acks.ack(deliveries)),
      this.#settled(left, (deliveries) => acks.lease(deliveries, maxLeaseSeconds)),
    ]);
    return errors.find((error) => error !== undefined);
  }

  #track<T>(call: Promise<T>): Promise<T> {
    const tracked = call.finally(() => this.#settling.delete(tracked));
    this.#settling.add(tracked);
    return tracked;
  }

  #takeFailure(): Error {
    const failure = this.#failure as Error;
    this.#failure = undefined;
    return failure;
  }

  #refuseClosed(): void {
    if (this.#closed !== undefined) throw new MachineryError('ERR_MACHINERY_CLOSED', 'The consumer is closed');
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
}

/** What a timer can wait. */
const maxTimerMs = 2 ** 31 - 1;

/** Its next delivery must be a redelivery, which nothing says of it yet. */
function isBegun(requeue: Requeue): boolean {
  const { redelivered, deliveryCount } = requeue.delivery;
  return requeue.position === 'front' && requeue.begun === true && !redelivered && deliveryCount === undefined;
}

/** A copy with an ordering key would come after those that wait: such a message stays, until its age tells. */
function isToBeMarked(requeue: Requeue): boolean {
  return isBegun(requeue) && !requeue.delivery.message.orderingKey;
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
