// One consumer of one subscription. It pulls as many messages as are wanted, so it has no more than core asked for, but for those that
// are not due yet, or come after another of their ordering key: they are put aside, and pulled on. A pull that an exchange does not wait for
// any more goes on, and serves the next.
//
// States: open -> closed -> drained. A closed consumer gives back at once what its last pulls bring.
// Invariants: a delivery is settled once, by identity; whatever is here is leased, or is dropped, as the server delivers it again.

import {
  type Consumer,
  errorText,
  type Logger,
  MachineryError,
  type Outcome,
  type Settlement,
  UnderWay,
} from '@machinery/core';
import { Acks, type Answer } from './acks.ts';
import type { Clients } from './clients.ts';
import { PubSubDelivery } from './delivery.ts';
import { isMissing } from './errors.ts';
import { Leases } from './leases.ts';
import { ageMsOf, copyOf, deadReasonAttribute, markedCopyOf, type PubsubMessage, reasonText } from './messages.ts';
import { maxLeaseSeconds, type PubSubBrokerOptions } from './options.ts';
import { OrderingKeys } from './ordering-keys.ts';
import type { Sending } from './publisher.ts';
import { Puller, type ReceivedMessage } from './puller.ts';
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
  /** Called when it is closed, and none of its pulls is under way. */
  readonly onDrained: (consumer: PubSubConsumer) => void;
}

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
  readonly puller: Puller;
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
  readonly #keys = new OrderingKeys();
  /** Why the last pull failed, until an exchange has said so. */
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #isAsked = false;
  #idle: NodeJS.Timeout | undefined;
  readonly #settling = new UnderWay();
  #closed: Promise<void> | undefined;

  constructor(options: PubSubConsumerOptions) {
    this.#options = options;
  }

  /** Looks whether the subscription is there. */
  async open(): Promise<void> {
    const source = await this.#options.source();
    this.#isThere = true;
    if (this.#opened !== undefined) return;
    const { clients, logger } = this.#options;
    const { subscription } = source;
    const acks = new Acks(clients, subscription);
    const puller = new Puller({
      clients,
      subscription,
      onMessages: (messages) => this.#received(messages),
      onError: (error) => this.#failed(error),
    });
    this.#opened = { source, acks, leases: new Leases(acks, source, this.#options, logger), puller };
  }

  async exchange(settled: readonly Settled[], want: number, signal: AbortSignal): Promise<PubSubDelivery[]> {
    this.#refuseClosed();
    this.#isAsked = true;
    clearTimeout(this.#idle);
    try {
      if (!signal.aborted && this.#isThere && this.#buffer.length === 0) this.#pull(want);
      await this.#settleOwn(settled);
      while (!signal.aborted) {
        if (this.#closed !== undefined) return [];
        const due = this.#takeDue(this.#room(want));
        if (due.length > 0) return due;
        if (this.#failure !== undefined) throw this.#takeFailure();
        if (!this.#isThere) await untilAborted(this.open(), signal);
        else {
          this.#pull(want);
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

  /**
   * Never rejects: what could not be given back, the server delivers again when its lease has run out. Pulls that are under way go on, see
   * `drain`.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    clearTimeout(this.#idle);
    for (const timer of this.#held.values()) clearTimeout(timer);
    this.#wake?.();
    await this.#settling.none();
    if (this.#opened !== undefined) {
      const left = this.#opened.leases.all().map((delivery) => {
        return { kind: 'requeue', position: 'front', begun: delivery.isHandedOut, delivery } as const;
      });
      await this.#settleOwn(left).catch((error) => this.#logDropped('given back', error));
      this.#opened.leases.end();
    }
    void this.#drained();
  }

  async #drained(): Promise<void> {
    await this.#opened?.puller.ended();
    await this.#settling.none();
    this.#options.onDrained(this);
  }

  /** Ends the pulls of a closed consumer. Resolves when what they brought is given back. */
  async drain(): Promise<void> {
    await this.#opened?.puller.end();
    await this.#settling.none();
  }

  // Taking

  #room(want: number): number {
    return Math.min(want, this.#options.maxInHand - this.#inHand);
  }

  #pull(want: number): void {
    if (this.#keys.size <= this.#maxHeld) this.#opened?.puller.pull(this.#room(want));
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

  #received(messages: readonly ReceivedMessage[]): void {
    const { source, acks, leases } = this.#opened as Opened;
    const deliveries = messages.map(
      (message) => new PubSubDelivery(message, source.ackDeadlineSeconds * 1_000, leases.shortestMs / 2),
    );
    if (this.#closed === undefined) {
      for (const delivery of deliveries) leases.add(delivery);
      this.#place(deliveries.filter((delivery) => this.#keys.admit(delivery)));
    } else if (deliveries.length > 0) {
      void this.#settling.during(async () => {
        const { error } = await acks.lease(deliveries, 0);
        if (error !== undefined) this.#logDropped('given back', error);
      });
    }
    this.#wake?.();
  }

  #failed(error: Error): void {
    this.#isThere = !isMissing(error);
    this.#failure = error;
    this.#wake?.();
  }

  /** Offers what is due, and holds what is not, as much as may be. The rest is left to the server until it is due. */
  #place(deliveries: readonly PubSubDelivery[]): void {
    const rest: Settled[] = [];
    for (const delivery of deliveries) {
      const { earlyMs } = delivery;
      if (earlyMs <= 0) this.#offer(delivery);
      else if (this.#held.size < this.#maxHeld) this.#hold(delivery);
      else rest.push({ kind: 'requeue', position: 'back', delayMs: earlyMs, delivery });
    }
    this.#settleLater(rest, 'left to the server');
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
      this.#giveBack(this.#buffer.splice(0));
    }, maxIdleMs).unref();
  }

  #giveBack(deliveries: readonly PubSubDelivery[]): void {
    const settled = deliveries.map((delivery) => ({ kind: 'requeue', position: 'back', delivery }) as const);
    this.#settleLater(settled, 'given back');
  }

  // Messages that are not due

  #hold(delivery: PubSubDelivery): void {
    if (this.#closed !== undefined) return;
    const extensionMs = (this.#opened as Opened).leases.maxExtensionMs - (performance.now() - delivery.receivedAt);
    const timer = setTimeout(
      () => this.#release(delivery),
      Math.ceil(Math.min(delivery.earlyMs, Math.max(0, extensionMs), maxTimerMs)),
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
    else void this.#settling.during(() => this.#publishAgain(delivery));
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
    const { source } = this.#opened as Opened;
    const what = `A message of queue ${this.#options.queue}`;
    const sendings = settled.map(({ delivery }) => ({ topic: source.topic, message: copy(delivery), what }));
    const outcomes = await this.#options.send(sendings);
    const stored = settled.filter((_, i) => outcomes[i]?.status === 'stored');
    for (const [i, { delivery }] of settled.entries()) delivery.isLeaving = outcomes[i]?.status === 'stored';
    const refused = outcomes.find((outcome) => outcome.status !== 'stored') as { readonly error: Error } | undefined;
    return (await this.#ack(stored)) ?? refused?.error;
  }

  /** It is gone for good, or comes again when its lease has run out. */
  #drop(delivery: PubSubDelivery, isGone = false): void {
    if (!this.#opened?.leases.delete(delivery)) return;
    if (delivery.isHandedOut) this.#inHand--;
    const next = isGone ? this.#keys.after(delivery) : undefined;
    if (next !== undefined) this.#place([next]);
    if (!isGone) this.#giveBack(this.#keys.behind(delivery));
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
      for (const leaving of [settlement, ...this.#following(settlement)]) {
        leaving.delivery.isLeaving = true;
        own.push(leaving);
      }
    }
    if (own.length > 0) await this.#settling.during(() => this.#settle(own));
  }

  /** What waits for one of its ordering key that goes back: it must come after that. */
  #following(settlement: Settled): Settled[] {
    if (settlement.kind !== 'requeue') return [];
    const delayMs = this.#secondsUntil(settlement) * 1_000;
    const behind = this.#keys.behind(settlement.delivery);
    return behind.map((delivery) => ({ kind: 'requeue', position: 'back', delayMs, delivery }));
  }

  /** Without anybody who waits for it. */
  #settleLater(settled: readonly Settled[], what: string): void {
    this.#settleOwn(settled).catch((error) => this.#logDropped(what, error));
  }

  /** Rejects when some may not be settled; those are this consumer's still. */
  async #settle(settled: readonly Settled[]): Promise<void> {
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
    const calls = [...bySeconds].map(([seconds, part]) => this.#lease(part, seconds));
    if (acked.length > 0) calls.push(this.#ack(acked));
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

  #ack(settled: readonly Settled[]): Promise<Error | undefined> {
    return this.#settled(settled, true, (acks, deliveries) => acks.ack(deliveries));
  }

  #lease(settled: readonly Settled[], seconds: number): Promise<Error | undefined> {
    return this.#settled(settled, false, (acks, deliveries) => acks.lease(deliveries, seconds));
  }

  async #settled(
    settled: readonly Settled[],
    isGone: boolean,
    call: (acks: Acks, deliveries: readonly PubSubDelivery[]) => Promise<Answer>,
  ): Promise<Error | undefined> {
    const { queue, logger } = this.#options;
    const { acks } = this.#opened as Opened;
    const deliveries = settled.map(({ delivery }) => delivery);
    const { done, lost, failed, error } = await call(acks, deliveries);
    for (const delivery of done) this.#drop(delivery, isGone);
    for (const delivery of lost) this.#drop(delivery);
    for (const delivery of failed) {
      delivery.isLeaving = false;
      if (!delivery.isHandedOut) this.#drop(delivery); // core, which would settle it again, does not know it
    }
    if (lost.length > 0)
      logger.warn(`${lost.length} message(s) of queue ${queue} were settled too late: their leases had run out`);
    return error;
  }

  /** To the topic of dead messages, or to the log where there is none. What that topic does not take comes again later. */
  async #bury(dead: readonly Dead[]): Promise<Error | undefined> {
    const { queue, logger, topicOf, send } = this.#options;
    const { source } = this.#opened as Opened;
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
    const errors = await Promise.all([this.#ack(buried), this.#lease(left, maxLeaseSeconds)]);
    return errors.find((error) => error !== undefined);
  }

  get #maxHeld(): number {
    return this.#options.maxHeld ?? 1_000;
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
