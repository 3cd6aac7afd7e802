// Keeps a worker's slots filled from one queue and settles what is done. It knows nothing of tasks: each delivery goes to
// `handle`, whose verdict is settled with the next take, or by itself when no take comes soon.
//
// States: new -> running <-> paused -> stopping -> stopped. `stop` waits for what is in hand; `abort` gives it back.
// Invariant: every delivery that was taken is settled exactly once, or given back by the broker when the consumer closes.

import { reconnectDelayMs, sleep } from './backoff.ts';
import type { Broker, Consumer, Delivery, Settlement } from './broker.ts';
import { errorText, MachineryError } from './errors.ts';
import type { Logger } from './logger.ts';

/** What becomes of a delivery: a Settlement without its delivery. */
export type Verdict =
  | { readonly kind: 'ack' }
  | {
      readonly kind: 'requeue';
      readonly position: 'front' | 'back';
      readonly delayMs?: number;
      readonly begun?: boolean;
    }
  | { readonly kind: 'dead'; readonly reason: string };

export interface ConsumerLoopOptions {
  readonly broker: Broker;
  readonly queue: string;
  readonly tag: string;
  /** How many deliveries may run at once. */
  readonly concurrency: number;
  readonly logger: Logger;
  /** Works on a delivery. Calls `release` when its slot is free for another, which is before the verdict. Never rejects. */
  readonly handle: (delivery: Delivery, release: () => void) => Promise<Verdict>;
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
  #phase: 'new' | 'running' | 'paused' | 'stopping' | 'stopped' = 'new';
  #consumer: Consumer | undefined;
  #loop: Promise<void> | undefined;
  /** Ends the wait of the exchange or the backoff under way, for a change of phase. */
  #interrupt = new AbortController();
  #settled: Settlement[] = [];
  #settleTimer: NodeJS.Timeout | undefined;
  #settling: Promise<void> = Promise.resolve();
  #running = 0;
  #wake: (() => void) | undefined;
  #failures = 0;

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
        this.#consumer = await broker.consume({ queue, tag, maxInHand: this.#maxInHand });
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
    if (this.#phase === 'running') this.#enter('paused');
  }

  resume(): void {
    if (this.#phase === 'paused') this.#enter('running');
  }

  /** Takes no more; resolves when everything in hand is done and settled, and the consumer is closed. */
  async stop(): Promise<void> {
    if (!this.#stopping()) this.#enter('stopping');
    await this.#loop;
  }

  /** Gives back at once whatever is in hand. Verdicts that still come are ignored. */
  abort(): void {
    for (const delivery of this.#inHand)
      this.#settled.push({ kind: 'requeue', position: 'front', begun: true, delivery });
    this.#inHand.clear();
    this.#enter('stopping');
  }

  #stopping(): boolean {
    return this.#phase === 'stopping' || this.#phase === 'stopped';
  }

  #enter(phase: 'running' | 'paused' | 'stopping'): void {
    this.#phase = phase;
    this.#interrupt.abort();
    this.#interrupt = new AbortController();
    this.#wake?.();
  }

  async #run(): Promise<void> {
    const consumer = this.#consumer as Consumer;
    while (!(this.#stopping() && this.#inHand.size === 0)) {
      const want =
        this.#phase === 'running' ? Math.min(this.#slots - this.#running, this.#maxInHand - this.#inHand.size) : 0;
      if (want <= 0) await this.#change();
      else if (this.#options.mayTake !== undefined && !(await this.#mayTake()))
        await sleep(mayTakeAgainMs, this.#interrupt.signal);
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
    if (this.#failures > 0)
      this.#options.logger.info(
        `Broker ${this.#options.broker.name} answers again, queue ${this.#options.queue} is being consumed`,
      );
    this.#failures = 0;
    for (const delivery of deliveries) this.#start(delivery);
  }

  #mayRun(): boolean {
    return this.#phase === 'running';
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
    void this.#options.handle(delivery, release).then((verdict) => {
      release();
      if (!this.#inHand.delete(delivery)) return; // given back by abort
      this.#settle({ ...verdict, delivery });
      this.#wake?.();
    });
  }

  #settle(settlement: Settlement): void {
    this.#settled.push(settlement);
    this.#settleSoon();
  }

  #settleSoon(): void {
    this.#settleTimer ??= setTimeout(() => {
      this.#settling = this.#settling.then(() => this.#settleNow());
    }, rideAlongMs);
  }

  #takeSettled(): Settlement[] {
    clearTimeout(this.#settleTimer);
    this.#settleTimer = undefined;
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
    } catch (error) {
      this.#settled = [...settled, ...this.#settled];
      await this.#outage(error);
      this.#settleSoon();
    }
  }

  async #settleLast(consumer: Consumer): Promise<void> {
    await this.#settling;
    clearTimeout(this.#settleTimer);
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

  async #outage(error: unknown): Promise<void> {
    this.#failures++;
    if (this.#failures === 1) {
      this.#options.logger.warn(
        `Broker ${this.#options.broker.name} failed, queue ${this.#options.queue} will be consumed when it is back: ${errorText(error)}`,
        error,
      );
      this.#options.onError(error);
    }
    if (!this.#stopping()) await sleep(reconnectDelayMs(this.#failures), this.#interrupt.signal);
  }

  async #mayTake(): Promise<boolean> {
    try {
      return (await this.#options.mayTake?.()) !== false;
    } catch (error) {
      this.#options.logger.error(`preConsumeHandler failed, nothing is taken: ${errorText(error)}`, error);
      return false;
    }
  }

  /** Resolves when a slot is free or the phase has changed. */
  async #change(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }
}
