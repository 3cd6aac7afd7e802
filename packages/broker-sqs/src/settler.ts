// What becomes of deliveries: deleted, made visible again, hidden for a while, replaced by a copy, or left to the queue. What could not be
// done is tried again with the next call.

import { type Outcome, type Settlement, UnderWay } from '@machinery/core';
import { Acks } from './acks.ts';
import { bytesOf, textAttribute } from './bodies.ts';
import type { DeadLetters } from './dead-letters.ts';
import { type Entry, redeliveredAttribute } from './entries.ts';
import type { InHand } from './in-hand.ts';
import type { Publisher } from './publisher.ts';
import type { Queue } from './queues.ts';
import type { Receipts, Settled } from './receipts.ts';
import type { SqsDelivery } from './sqs-delivery.ts';

type SqsSettlement = Settlement<SqsDelivery>;

export interface SettlerOptions {
  readonly queue: Queue;
  readonly receipts: Receipts<SqsDelivery>;
  readonly inHand: InHand;
  readonly publisher: Publisher;
  readonly deadLetters: DeadLetters;
  /** A delivery left the hands; `deleted`: for good. */
  readonly onSettled: (delivery: SqsDelivery, deleted: boolean) => void;
}

/**
 * What goes back is made visible, or hidden for a while, and SQS counts it as delivered. What was received so often is replaced by
 * a copy, which counts from the start: only what is never settled may come to `maxDeliveries`, and not a task that no worker knows yet.
 */
const receivesBeforeCopy = 5;
/** How long a dead message that has no place to go is hidden first, in seconds; then four times as long. */
const deadHiddenSeconds = 60;

export class Settler {
  readonly #options: SettlerOptions;
  readonly #acks: Acks;
  /** What could not be settled. */
  readonly #owed = new Map<SqsDelivery, SqsSettlement>();
  readonly #underWay = new UnderWay();
  #leaving = 0;

  constructor(options: SettlerOptions) {
    this.#options = options;
    this.#acks = new Acks(options.receipts, options.queue.isFifo);
  }

  /** How many deliveries are being settled. */
  get leaving(): number {
    return this.#leaving;
  }

  /** Rejects when something was not settled. What is not in hand is ignored. */
  settle(settled: readonly SqsSettlement[]): Promise<void> {
    return this.#underWay.during(() => this.#settle(this.#own(settled)));
  }

  /** Makes visible what nobody asked for. Never rejects: what cannot be is visible when its time is over. */
  async giveBack(deliveries: readonly SqsDelivery[]): Promise<void> {
    const here = deliveries.filter((delivery) => !delivery.isLeaving);
    const own = here.filter((delivery) => this.#options.inHand.owns(delivery));
    for (const delivery of own) delivery.isLeaving = true;
    const copied = own.filter((delivery) => this.#countsTooFar(delivery));
    const hidden = own.filter((delivery) => !copied.includes(delivery));
    await Promise.all([
      this.#copy(copied.map((delivery) => ({ kind: 'requeue', position: 'back', delivery }))),
      this.#hideAll(hidden, () => 0),
    ]);
    for (const delivery of here) this.#done(delivery, false);
  }

  /** Hides what came too early. Never rejects. */
  async postpone(delivery: SqsDelivery, seconds: number): Promise<void> {
    await this.#hideAll([delivery], () => seconds);
    this.#done(delivery, false);
  }

  /** Lets nothing wait for more to settle. */
  flush(): void {
    this.#acks.flush();
  }

  /** Settles what is under way and what is owed, as far as it can. */
  async finish(): Promise<void> {
    this.flush();
    await this.#underWay.none();
    const last = this.settle([]).catch(() => {});
    this.flush();
    await last;
  }

  #own(settled: readonly SqsSettlement[]): SqsSettlement[] {
    const all = new Map(this.#owed);
    for (const settlement of settled) if (!all.has(settlement.delivery)) all.set(settlement.delivery, settlement);
    return [...all.values()].filter(({ delivery }) => {
      if (delivery.isLeaving) return false;
      if (this.#options.inHand.owns(delivery)) return true;
      this.#owed.delete(delivery);
      this.#done(delivery, false);
      return false;
    });
  }

  async #settle(own: readonly SqsSettlement[]): Promise<void> {
    if (own.length === 0) return;
    for (const { delivery } of own) delivery.isLeaving = true;
    this.#leaving += own.length;
    const of = (way: Way) => own.filter((settlement) => this.#wayOf(settlement) === way);
    for (const { delivery } of of('leave')) this.#done(delivery, false);
    const errors = await Promise.all([
      this.#delete(of('delete').map(({ delivery }) => delivery)),
      this.#hide(of('hide')),
      this.#copy(of('copy')),
      this.#bury(of('bury')),
    ]);
    this.#leaving -= own.length;
    for (const settlement of own) {
      const { delivery } = settlement;
      delivery.isLeaving = false;
      if (this.#options.inHand.has(delivery)) this.#owed.set(delivery, settlement);
      else this.#owed.delete(delivery);
    }
    const error = errors.find((one) => one !== undefined);
    if (error !== undefined) throw error;
  }

  #wayOf(settlement: SqsSettlement): Way {
    if (settlement.delivery.isReplaced) return 'delete';
    if (settlement.kind === 'dead') return 'bury';
    if (settlement.kind === 'ack') return settlement.leave ? 'leave' : 'delete';
    return this.#countsTooFar(settlement.delivery) ? 'copy' : 'hide';
  }

  /** Nothing is counted on FIFO queues, where a copy would lose its place. */
  #countsTooFar({ receiveCount }: SqsDelivery): boolean {
    return receiveCount >= receivesBeforeCopy && !this.#options.queue.isFifo;
  }

  async #delete(deliveries: readonly SqsDelivery[]): Promise<Error | undefined> {
    if (deliveries.length === 0) return undefined;
    const { done, gone, error } = await this.#acks.add(deliveries);
    for (const delivery of done) this.#done(delivery, true);
    for (const delivery of gone) this.#done(delivery, false);
    return error;
  }

  async #hide(settled: readonly SqsSettlement[]): Promise<Error | undefined> {
    const seconds = new Map(settled.map((settlement) => [settlement.delivery, delaySecondsOf(settlement)]));
    const result = await this.#hideAll([...seconds.keys()], (delivery) => seconds.get(delivery) as number);
    for (const delivery of [...result.done, ...result.gone]) this.#done(delivery, false);
    return result.error;
  }

  async #hideAll(
    deliveries: readonly SqsDelivery[],
    seconds: (delivery: SqsDelivery) => number,
  ): Promise<Settled<SqsDelivery>> {
    const { inHand, receipts } = this.#options;
    if (deliveries.length === 0) return { done: [], gone: [], error: undefined };
    for (const delivery of deliveries) delivery.isLeaving = true;
    await inHand.quiet();
    return receipts.hide(deliveries, seconds);
  }

  /** A crash in between leaves one copy more. */
  async #copy(settled: readonly SqsSettlement[]): Promise<Error | undefined> {
    if (settled.length === 0) return undefined;
    const { publisher, queue } = this.#options;
    const outcomes = await publisher.send(
      queue,
      settled.map((settlement) => this.#copyOf(settlement)),
    );
    const copied = settled.filter((_, i) => outcomes[i]?.status === 'stored').map(({ delivery }) => delivery);
    for (const delivery of copied) delivery.isReplaced = true;
    // It has no room for one attribute more, or its worker must not send: it goes on counting.
    const refused = settled.filter((_, i) => isRefused(outcomes[i]));
    const [deleteError, hideError] = await Promise.all([this.#delete(copied), this.#hide(refused)]);
    for (const outcome of outcomes) if (outcome.status !== 'stored' && !isRefused(outcome)) return outcome.error;
    return deleteError ?? hideError;
  }

  #copyOf(settlement: SqsSettlement): Entry {
    const { body, attributes } = settlement.delivery;
    const kept = { ...attributes, [redeliveredAttribute]: textAttribute('1') };
    const what = `a message of queue ${this.#options.queue.name}`;
    return { body, attributes: kept, bytes: bytesOf(body, kept), delaySeconds: delaySecondsOf(settlement), what };
  }

  async #bury(settled: readonly SqsSettlement[]): Promise<Error | undefined> {
    const errors = await Promise.all(settled.map((settlement) => this.#buryOne(settlement).catch((error) => error)));
    return errors.find((error) => error !== undefined);
  }

  async #buryOne(settlement: SqsSettlement): Promise<Error | undefined> {
    const { delivery } = settlement;
    const { reason } = settlement as SqsSettlement & { readonly kind: 'dead' };
    delivery.isReplaced = await this.#options.deadLetters.store(delivery, reason);
    if (delivery.isReplaced) return this.#delete([delivery]);
    const seconds = deadHiddenSeconds * 4 ** Math.min(delivery.receiveCount - 1, 10);
    const { error } = await this.#hideAll([delivery], () => seconds);
    if (error === undefined) this.#done(delivery, false);
    return error;
  }

  #done(delivery: SqsDelivery, deleted: boolean): void {
    if (this.#options.inHand.remove(delivery)) this.#options.onSettled(delivery, deleted);
  }
}

function isRefused(outcome: Outcome | undefined): boolean {
  return outcome?.status === 'failed' && !outcome.retryable;
}

type Way = 'delete' | 'leave' | 'hide' | 'copy' | 'bury';

/** Rounded up: SQS knows whole seconds. */
function delaySecondsOf(settlement: SqsSettlement): number {
  if (settlement.kind !== 'requeue' || settlement.position !== 'back') return 0;
  return Math.ceil((settlement.delayMs ?? 0) / 1_000);
}
