// Keeps a worker's slots filled from one queue and settles what is done. It knows nothing of tasks: each delivery goes to
// `handle`, whose verdict is settled with the next take, or by itself when no take comes soon.
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
  | { readonly kind: 'ack' }
  | { readonly kind: 'requeue'; readonly position: 'front'; readonly begun?: boolean }
  | { readonly kind: 'requeue'; readonly position: 'back'; readonly delayMs?: number }
  | { readonly kind: 'dead'; readonly reason: string };

/** A delivery's place in the worker's hands. */
export interface Hold {
  /** Frees the slot for another delivery: the task has ended. The verdict may come later. */
  release(): void;
  /** Whether the delivery is still this worker's. Absent where a worker cannot lose one. */
  readonly owns?: (() => boolean | Promise<boolean>) | undefined;
}

export interface ConsumerLoopOptions {
  readonly broker: Broker;
  readonly queue: string;
  readonly tag: string;
  /** How many deliveries may run at once. */
  readonly concurrency: number;
  readonly logger: Logger;
  /** Works on a delivery. Never rejects. */
  readonly handle: (delivery: Delivery, hold: Hold) => Promise<Verdict>;
  /** Asked before taking; false means to ask again a little later. */
  readonly mayTake: (() => boolean | Promise<boolean>) | undefined;
  /** Told of each outage of the broker, once. */
  readonly onError: (error: unknown) => void;
}

/** How long a verdict waits to ride along with the next take, in milliseconds. */
const rideAlongMs = 5;
/** How long `mayTake` is left alone after it said no, in milliseconds. */
const mayTakeAgainMs = 100;
/** How often the last verdicts are offered to a broker that is away while stopping. */
const lastTries = 5;

export class ConsumerLoop {
  readonly #options: ConsumerLoopOptions;
  readonly #slots: number;
  readonly #maxInHand: number;
  readonly #inHand = new Set<Delivery>();
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
  #running = 0;
  #wake: (() => void) | undefined;
  #failures = 0;
  #takes = 0;

  constructor(options: ConsumerLoopOptions) {
    this.#options = options;
    const eager = options.broker.capabilities.eager === true;
    this.#slots = eager ? Number.POSITIVE_INFINITY : options.concurrency;
    // A slot is free once its task has ended; storing its state and sending its callbacks overlap with the next task.
    this.#maxInHand = this.#slots * 2;
  }

  /** Resolves when messages are being taken. A broker that is away is waited for. */
  async start(): Promise<void> {
    const { broker, queue, tag } = this.#options;
    this.#phase = 'running';
    for (;;) {
      try {
        this.#consumer = await broker.consume({ queue, tag, slots: this.#slots, maxInHand: this.#maxInHand });
        break;
      } catch (error) {
        if (!MachineryError.is(error, 'ERR_MACHINERY_BROKER_UNAVAILABLE')) throw error;
        await this.#outage(error);
        if (this.#stopping()) return;
      }
    }
    this.#failures = 0;
    this.#loop = this.#run();
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
    for (const delivery of this.#inHand)
      this.#settled.push({ kind: 'requeue', position: 'front', begun: true, delivery });
    this.#inHand.clear();
    this.#phase = 'stopping';
    this.#changed();
  }

  #stopping(): boolean {
    return this.#phase === 'stopping' || this.#phase === 'stopped';
  }

  /** Ends whatever is waiting, so that the loop looks again at what it should do. */
  #changed(): void {
    this.#interrupt.abort();
    this.#interrupt = new AbortController();
    this.#wake?.();
  }

  async #run(): Promise<void> {
    const consumer = this.#consumer as Consumer;
    while (!(this.#stopping() && this.#inHand.size === 0)) {
      const want = this.#mayRun() ? Math.min(this.#slots - this.#running, this.#maxInHand - this.#inHand.size) : 0;
      if (want <= 0) await this.#change();
      else if (this.#options.mayTake !== undefined && !(await this.#mayTake())) await this.#pauseFor(mayTakeAgainMs);
      else await this.#take(consumer, want);
    }
    await this.#settleLast(consumer);
    this.#phase = 'stopped';
    await consumer
      .close()
      .catch((error) =>
        this.#options.logger.warn(`Consumer ${this.#options.tag} was not closed cleanly: ${errorText(error)}`, error),
      );
  }

  async #take(consumer: Consumer, want: number): Promise<void> {
    if (!this.#mayRun()) return;
    const settled = this.#takeSettled();
    let deliveries: Delivery[];
    try {
      deliveries = await consumer.exchange(settled, want, this.#interrupt.signal);
    } catch (error) {
      this.#settled = [...settled, ...this.#settled];
      await this.#outage(error);
      return;
    }
    this.#recovered();
    for (const delivery of deliveries) this.#start(delivery);
    // Deliveries that run nothing, one after the other, must not keep timers and signals from their turn.
    if (++this.#takes % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }

  #mayRun(): boolean {
    return this.#phase === 'running' && !this.#paused;
  }

  #start(delivery: Delivery): void {
    if (!this.#mayRun()) {
      this.#settle({ kind: 'requeue', position: 'front', delivery });
      return;
    }
    this.#inHand.add(delivery);
    this.#running++;
    let holdsSlot = true;
    const release = () => {
      if (!holdsSlot) return;
      holdsSlot = false;
      this.#running--;
      this.#wake?.();
    };
    const consumer = this.#consumer as Consumer;
    const owns = consumer.owns && (() => consumer.owns?.(delivery) ?? true);
    void this.#options.handle(delivery, { release, owns }).then((verdict) => {
      release();
      if (!this.#inHand.delete(delivery)) return; // given back by abort
      this.#settle(verdict.kind === 'ack' ? { kind: 'ack', delivery } : { ...verdict, delivery });
      this.#wake?.();
    });
  }

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
