// Keeps a worker's slots filled from one queue and settles what is done. It knows nothing of tasks: each delivery goes to
// `handle`, and its verdict is settled with the next take, or by itself when no take comes soon.
//
// While tasks are quick, messages are taken ahead of the slots, so that the next are there when the last have ended. What
// waits too long for a slot is given back: another worker may have one.
//
// States: new -> running -> stopping -> stopped, and paused or not. `stop` waits for what is in hand; `abort` gives it back.
// Invariant: every delivery that was taken is settled exactly once, or given back by the broker when the consumer closes.

import { clearImmediate, setImmediate } from 'node:timers';
import { reconnectDelayMs, sleep } from './backoff.ts';
import type { Broker, Consumer, Delivery, Settlement } from './broker.ts';
import { errorText, MachineryError } from './errors.ts';
import type { Logger } from './logger.ts';

/** What becomes of a delivery: a Settlement without its delivery. */
export type Verdict =
  | { readonly kind: 'ack'; readonly leave?: boolean }
  | { readonly kind: 'requeue'; readonly position: 'front'; readonly begun?: boolean }
  | { readonly kind: 'requeue'; readonly position: 'back'; readonly delayMs?: number }
  | { readonly kind: 'dead'; readonly reason: string };

/** A delivery in the worker's hands. */
export interface Hold {
  readonly delivery: Delivery;
  /** Frees the slot for another delivery: the task has ended. The verdict may come later. */
  release(): void;
  /** Says what becomes of the delivery; only the first time counts. */
  settle(verdict: Verdict): void;
  /** Whether the delivery is still this worker's. */
  owns(): boolean | Promise<boolean>;
}

export interface ConsumerLoopOptions {
  readonly broker: Broker;
  readonly queue: string;
  readonly tag: string;
  /** How many deliveries may run at once. */
  readonly concurrency: number;
  readonly logger: Logger;
  /** Works on a delivery: releases and settles it, perhaps before it returns. Never throws. */
  readonly handle: (hold: Hold) => void;
  /** How many messages may be taken ahead of the slots. Default: as many as make 300 with them. */
  readonly prefetch?: number | undefined;
  /** Asked before taking; false means to ask again a little later. */
  readonly mayTake: (() => boolean | Promise<boolean>) | undefined;
  /** Told of each outage of the broker, once. */
  readonly onError: (error: unknown) => void;
}

/** How long a verdict waits to ride along with the next take, in milliseconds. */
const rideAlongMs = 5;
/** How long `mayTake` is left alone after it said no, in milliseconds. */
const mayTakeAgainMs = 100;
/** What is taken ahead waits no longer for a slot, in milliseconds. */
const maxWaitMs = 10;
/** More is taken ahead when what was taken before was done in this time, in milliseconds. */
const quickMs = 2.5;
/** The slots, and what is taken ahead of them by default. More is slower: garbage collection copies what is in hand. */
const inHandByDefault = 300;
/** How many that have begun may stay in the list of what was taken. */
const maxBegunKept = 1_000;
/** How often the last verdicts are offered to a broker that is away while stopping. */
const lastTries = 5;

export class ConsumerLoop {
  readonly #options: ConsumerLoopOptions;
  readonly #slots: number;
  /** How many may ever be taken ahead of the slots. */
  readonly #maxAhead: number;
  readonly #inHand = new Set<Held>();
  #phase: 'new' | 'running' | 'stopping' | 'stopped' = 'new';
  #paused = false;
  #consumer: Consumer | undefined;
  #loop: Promise<void> | undefined;
  /** Ends the wait of the exchange or the backoff under way, for a change of phase. */
  #interrupt = new AbortController();
  #settled: Settlement[] = [];
  /** There while settlements are about to be settled by themselves. */
  #cancelSettle: (() => void) | undefined;
  #settling: Promise<void> = Promise.resolve();
  /** How many slots are taken. */
  #running = 0;
  /** Taken, in order; those from `#next` on have not begun. */
  #taken: Delivery[] = [];
  #next = 0;
  #isFilling = false;
  /** How many may wait. */
  #ahead = 0;
  /** When the last that were taken came, and when the last task ended. */
  #takenAt = 0;
  #endedAt = 0;
  /** When it fires, what was taken up to that place has waited too long. */
  #giveBackTimer: NodeJS.Timeout | undefined;
  #lateUpTo = 0;
  /** How often something was given back. */
  #givenBack = 0;
  #wake: (() => void) | undefined;
  #failures = 0;
  #exchanges = 0;

  constructor(options: ConsumerLoopOptions) {
    this.#options = options;
    const { eager, pushes } = options.broker.capabilities;
    this.#slots = eager === true ? Number.POSITIVE_INFINITY : options.concurrency;
    // What is pushed is ahead as it is, what is counted must not be; and `mayTake` wants to be asked.
    const mayTakeAhead = eager !== true && pushes !== true && options.mayTake === undefined;
    this.#maxAhead = mayTakeAhead ? (options.prefetch ?? Math.max(0, inHandByDefault - this.#slots)) : 0;
  }

  /** Resolves when messages are being taken. A broker that is away is waited for. */
  async start(): Promise<void> {
    const { broker, queue, tag } = this.#options;
    this.#phase = 'running';
    for (;;) {
      try {
        const maxInHand = this.#slots * 2 + this.#maxAhead * 3;
        this.#consumer = await broker.consume({ queue, tag, slots: this.#slots, maxInHand });
        break;
      } catch (error) {
        if (!MachineryError.is(error, 'ERR_MACHINERY_BROKER_UNAVAILABLE')) throw error;
        await this.#outage(error);
        if (this.#stopping()) return;
      }
    }
    this.#failures = 0;
    this.#loop = this.#run(this.#consumer);
  }

  pause(): void {
    this.#paused = true;
    this.#changed();
  }

  resume(): void {
    this.#paused = false;
    this.#changed();
  }

  /** Takes no more; resolves when everything in hand is done and settled, and the consumer is closed. */
  async stop(): Promise<void> {
    if (this.#phase !== 'stopped') this.#phase = 'stopping';
    this.#changed();
    await this.#loop;
  }

  /** Gives back at once whatever is in hand. Verdicts that still come are ignored. */
  abort(): void {
    for (const { delivery } of this.#inHand)
      this.#settled.push({ kind: 'requeue', position: 'front', begun: true, delivery });
    this.#inHand.clear();
    this.#phase = 'stopping';
    this.#changed();
  }

  get isConnected(): boolean {
    return this.#consumer !== undefined && this.#failures === 0 && this.#phase !== 'stopped';
  }

  get isConsuming(): boolean {
    return this.isConnected && this.#mayRun();
  }

  /** How many messages are in hand. */
  get inHand(): number {
    return this.#inHand.size + this.#waiting();
  }

  #stopping(): boolean {
    return this.#phase === 'stopping' || this.#phase === 'stopped';
  }

  /** Ends whatever is waiting, so that the loop looks again at what it should do. */
  #changed(): void {
    if (!this.#mayRun()) this.#giveBack();
    this.#endWait();
    this.#wake?.();
  }

  #endWait(): void {
    this.#interrupt.abort();
    this.#interrupt = new AbortController();
  }

  async #run(consumer: Consumer): Promise<void> {
    while (!(this.#stopping() && this.#inHand.size === 0)) {
      const want = this.#want();
      if (want > 0 && this.#options.mayTake !== undefined && !(await this.#mayTake()))
        await this.#pauseFor(mayTakeAgainMs);
      else if (want > 0) await this.#exchange(consumer, want);
      else await this.#change();
    }
    await this.#settleLast(consumer);
    this.#phase = 'stopped';
    await consumer
      .close()
      .catch((error) =>
        this.#options.logger.warn(`Consumer ${this.#options.tag} was not closed cleanly: ${errorText(error)}`, error),
      );
  }

  /** How many messages to ask for. */
  #want(): number {
    if (!this.#mayRun()) return 0;
    return this.#free() + this.#ahead - this.#waiting();
  }

  /** How many were taken and have not begun. */
  #waiting(): number {
    return this.#taken.length - this.#next;
  }

  /**
   * How many tasks can begin. A slot is free once its task has ended: storing its state and sending its callbacks overlap
   * with the next tasks, but not with any number of them.
   */
  #free(): number {
    return Math.min(this.#slots - this.#running, (this.#slots + this.#ahead) * 2 - this.#inHand.size);
  }

  /** Settles what is done and takes more. What was taken before begins while the answer is on its way. */
  async #exchange(consumer: Consumer, want: number): Promise<void> {
    if (!this.#mayRun()) return;
    const settled = this.#takeSettled();
    const { signal } = this.#interrupt;
    const givenBack = this.#givenBack;
    const taking = (async () => consumer.exchange(settled, want, signal))();
    this.#fill();
    let deliveries: Delivery[];
    try {
      deliveries = await taking;
    } catch (error) {
      this.#settled = [...settled, ...this.#settled];
      await this.#outage(error);
      return;
    }
    this.#recovered();
    if (givenBack === this.#givenBack) {
      this.#adapt(deliveries);
      this.#wait(deliveries);
    } else {
      // What was given back meanwhile comes before these.
      for (const delivery of deliveries) this.#settle({ kind: 'requeue', position: 'front', delivery });
    }
    // When the next are asked for at once, these begin after that.
    if (this.#want() <= 0 || this.#options.mayTake !== undefined) this.#fill();
    // Deliveries that run nothing, one after the other, must not keep timers and signals from their turn.
    if (++this.#exchanges % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }

  #mayRun(): boolean {
    return this.#phase === 'running' && !this.#paused;
  }

  /** Takes more ahead when the hands were empty, though those before were quick; none for what may end its process. */
  #adapt(deliveries: readonly Delivery[]): void {
    if (deliveries.length === 0) return;
    const wasEmpty = this.#running === 0 && this.#waiting() === 0;
    const wereQuick = this.#endedAt >= this.#takenAt && this.#endedAt - this.#takenAt < quickMs;
    if (deliveries.some(({ redelivered }) => redelivered)) this.#ahead = 0;
    else if (wasEmpty && wereQuick) this.#ahead = Math.min(this.#maxAhead, Math.max(1, this.#ahead * 2));
    this.#takenAt = performance.now();
  }

  /** Starts what waits, as far as slots are free. */
  #fill(): void {
    if (this.#isFilling) return;
    this.#isFilling = true;
    const since = performance.now();
    while (this.#free() > 0 && this.#mayRun()) {
      const delivery = this.#taken[this.#next];
      if (delivery === undefined) break;
      this.#next++;
      this.#running++;
      const held = new Held(delivery, this.#keeper);
      this.#inHand.add(held);
      this.#options.handle(held);
      if (this.#ahead > 0 && performance.now() - since > maxWaitMs) this.#giveBack();
    }
    this.#isFilling = false;
    if (this.#waiting() === 0) this.#emptied();
    else if (!this.#mayRun()) this.#giveBack();
    else this.#giveBackLater();
  }

  /** Gives back what waits, when some of it has waited too long. */
  #giveBackLater(): void {
    if (this.#giveBackTimer !== undefined) return;
    this.#lateUpTo = this.#taken.length;
    this.#giveBackTimer = setTimeout(() => {
      this.#giveBackTimer = undefined;
      if (this.#next < this.#lateUpTo) this.#giveBack();
      else this.#giveBackLater();
    }, maxWaitMs);
  }

  #wait(deliveries: readonly Delivery[]): void {
    if (this.#next > maxBegunKept) {
      this.#taken.splice(0, this.#next);
      this.#lateUpTo -= this.#next;
      this.#next = 0;
    }
    for (const delivery of deliveries) this.#taken.push(delivery);
  }

  #emptied(): void {
    this.#taken = [];
    this.#next = 0;
    clearTimeout(this.#giveBackTimer);
    this.#giveBackTimer = undefined;
  }

  /** What cannot begin now goes back to its place: tasks are not quick any more, or none may run. */
  #giveBack(): void {
    this.#ahead = 0;
    const kept = this.#mayRun() ? Math.max(0, this.#free()) : 0;
    const late = this.#taken.splice(this.#next + kept);
    for (const delivery of late) this.#settle({ kind: 'requeue', position: 'front', delivery });
    if (late.length > 0) {
      this.#givenBack++;
      this.#endWait(); // or what is given back comes again with the exchange that waits
    }
    if (this.#waiting() === 0) this.#emptied();
    this.#wake?.();
  }

  readonly #keeper: Keeper = {
    released: () => {
      if (--this.#running === 0) this.#endedAt = performance.now();
      if (this.#waiting() > 0) this.#fill();
      this.#wake?.();
    },
    settled: (held, verdict) => {
      if (!this.#inHand.delete(held)) return; // given back by abort
      const { delivery } = held;
      this.#settle(verdict.kind === 'ack' && !verdict.leave ? { kind: 'ack', delivery } : { ...verdict, delivery });
      if (this.#waiting() > 0) this.#fill();
      this.#wake?.();
    },
    owns: (delivery) => this.#consumer?.owns?.(delivery) ?? true,
  };

  #settle(settlement: Settlement): void {
    this.#settled.push(settlement);
    this.#settleSoon();
  }

  #settleSoon(): void {
    if (this.#cancelSettle !== undefined) return;
    const settle = () => {
      this.#settling = this.#settling.then(() => this.#settleNow());
    };
    if (this.#options.broker.capabilities.pushes === true) {
      const immediate = setImmediate(settle);
      this.#cancelSettle = () => clearImmediate(immediate);
    } else {
      const timer = setTimeout(settle, rideAlongMs);
      this.#cancelSettle = () => clearTimeout(timer);
    }
  }

  #takeSettled(): Settlement[] {
    this.#cancelSettle?.();
    this.#cancelSettle = undefined;
    const settled = this.#settled;
    this.#settled = [];
    return settled;
  }

  /** Settles without taking. What fails is offered again with the next take. */
  async #settleNow(): Promise<void> {
    const settled = this.#takeSettled();
    if (settled.length === 0) return;
    try {
      await (this.#consumer as Consumer).settle(settled);
      this.#recovered();
    } catch (error) {
      this.#settled = [...settled, ...this.#settled];
      await this.#outage(error);
      this.#settleSoon();
    }
  }

  async #settleLast(consumer: Consumer): Promise<void> {
    await this.#settling;
    this.#cancelSettle?.();
    for (let tries = 1; this.#settled.length > 0; tries++) {
      const settled = this.#takeSettled();
      try {
        await consumer.settle(settled);
      } catch (error) {
        if (tries === lastTries) {
          this.#options.logger.error(
            `${settled.length} message(s) of queue ${this.#options.queue} could not be settled before stopping; the broker will deliver them again: ${errorText(error)}`,
            error,
          );
          return;
        }
        this.#settled = settled;
        await sleep(reconnectDelayMs(tries));
      }
    }
  }

  #recovered(): void {
    const { logger, broker, queue } = this.#options;
    if (this.#failures > 0) logger.info(`Broker ${broker.name} answers again, queue ${queue} is being consumed`);
    this.#failures = 0;
  }

  async #outage(error: unknown): Promise<void> {
    this.#failures++;
    if (this.#failures === 1) {
      this.#options.logger.warn(
        `Broker ${this.#options.broker.name} failed, queue ${this.#options.queue} will be consumed when it is back: ${errorText(error)}`,
        error,
      );
      this.#options.onError(error);
    }
    await this.#pauseFor(reconnectDelayMs(this.#failures));
  }

  async #mayTake(): Promise<boolean> {
    const { signal } = this.#interrupt;
    let stopAsking: (() => void) | undefined;
    const interrupted = new Promise<false>((resolve) => {
      stopAsking = () => resolve(false);
      signal.addEventListener('abort', stopAsking);
    });
    try {
      return (await Promise.race([this.#options.mayTake?.(), interrupted])) !== false;
    } catch (error) {
      this.#options.logger.error(`preConsumeHandler failed, nothing is taken: ${errorText(error)}`, error);
      return false;
    } finally {
      signal.removeEventListener('abort', stopAsking as () => void);
    }
  }

  /** Waits, unless there is a stop to come to. */
  async #pauseFor(delayMs: number): Promise<void> {
    if (!this.#stopping()) await sleep(delayMs, this.#interrupt.signal);
  }

  /** Resolves when a slot is free or the phase has changed. */
  async #change(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }
}

/** What a delivery's hold tells its loop. */
interface Keeper {
  released(): void;
  settled(held: Held, verdict: Verdict): void;
  owns(delivery: Delivery): boolean | Promise<boolean>;
}

class Held implements Hold {
  readonly delivery: Delivery;
  readonly #keeper: Keeper;
  #holdsSlot = true;

  constructor(delivery: Delivery, keeper: Keeper) {
    this.delivery = delivery;
    this.#keeper = keeper;
  }

  release(): void {
    if (!this.#holdsSlot) return;
    this.#holdsSlot = false;
    this.#keeper.released();
  }

  settle(verdict: Verdict): void {
    this.release();
    this.#keeper.settled(this, verdict);
  }

  owns(): boolean | Promise<boolean> {
    return this.#keeper.owns(this.delivery);
  }
}
